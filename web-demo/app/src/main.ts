/** The page at `/`: two devices of one person side by side, on one document. */
import "./styles.css";
import { openPanel } from "./device-panel.ts";
import { currentDocument, device, freshDocument, openElsewhere, serverUrl } from "./place.ts";

const DEVICES = [device("phone", "Phone"), device("laptop", "Laptop")];

const name = currentDocument();
const label = document.querySelector<HTMLElement>("[data-testid=document-name]");
const devices = document.querySelector<HTMLElement>("[data-testid=devices]");

if (label !== null) label.textContent = name;
if (devices !== null) {
  await Promise.all(
    DEVICES.map((each) =>
      openPanel(devices, { device: each, document: name, url: serverUrl(), here: DEVICES }),
    ),
  );
}

document
  .querySelector("[data-testid=new-document]")
  ?.addEventListener("click", () => openElsewhere(freshDocument()));
// Another document in the address is another page: two open copies of everything would only confuse.
window.addEventListener("hashchange", () => location.reload());
