/** The page at `/`: three devices of one person side by side, each with its own store, connection and network. */
import "./styles.css";
import { createRoot } from "react-dom/client";
import { Chaos } from "./lib/chaos.ts";
import { DemoDevice } from "./lib/device.ts";
import { Importing } from "./lib/importing.ts";
import { currentPerson, ROLES } from "./lib/place.ts";
import { App } from "./ui/app.tsx";

const person = currentPerson();
const devices = ROLES.map((role) => new DemoDevice(person, role));
const [first] = devices;
const root = document.getElementById("app");
const refresh = () => {
  for (const { client } of devices) void client.refresh();
};
if (root !== null && first !== undefined) {
  createRoot(root).render(
    <App
      person={person}
      devices={devices}
      chaos={new Chaos(devices)}
      importing={new Importing(first.post, refresh)}
    />,
  );
}
// Another person in the address is another page: open copies of everything would only confuse.
window.addEventListener("hashchange", () => location.reload());
// With that the page comes up without the server, too. While developing, every load is to show what was just written.
if (import.meta.env.PROD && "serviceWorker" in navigator) {
  window.addEventListener("load", async () => {
    try {
      const kept = await navigator.serviceWorker.register("/sw.js");
      // Browsers look for a new one by themselves, but when they like.
      await kept.update();
    } catch {
      // No server just now, or a browser that keeps nothing (a private window, a full disk): the page works all the same.
    }
  });
}
