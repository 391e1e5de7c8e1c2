/** The page at `/docs`: shows `/openapi.json`, and sends calls to this server with the token one gives it. */
import SwaggerUI from "swagger-ui-dist/swagger-ui-es-bundle.js";
import "swagger-ui-dist/swagger-ui.css";
import "./docs.css";

SwaggerUI({
  url: "/openapi.json",
  dom_id: "#api",
  deepLinking: true,
  docExpansion: "list",
  defaultModelsExpandDepth: 0,
  displayRequestDuration: true,
  // Nothing is asked of another server: no badge of a validator.
  validatorUrl: null,
  // A token stays in the page's memory and goes with it.
  persistAuthorization: false,
});
