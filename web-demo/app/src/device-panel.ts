/** One device on the page: its own copy, connection and offline switch around the shared conversation and note. */
import { type Device, type LoneDocument, openDocument } from "@syncline/client";
import { element, icon } from "./dom.ts";
import { bindNote } from "./note-binding.ts";
import { offlineSwitch } from "./place.ts";
import { StatusView } from "./status-view.ts";
import { addTurn, bindTranscript } from "./transcript.ts";

export interface PanelOptions {
  readonly device: Device;
  readonly document: string;
  readonly url: string;
  /** The devices on this page; all others run elsewhere. */
  readonly here: readonly Device[];
}

/** Draws the device at once; it takes input as soon as its own store is open, server or not. */
export async function openPanel(parent: HTMLElement, options: PanelOptions): Promise<void> {
  const { device } = options;
  const { kind } = device;
  const status = new StatusView(device, options.here);
  const list = element("ol", {
    class: "transcript empty",
    "data-testid": `transcript-${kind}`,
    "aria-label": `Conversation on ${device.name}`,
    tabindex: "0",
  });
  const words = element("input", {
    type: "text",
    placeholder: `Write from the ${device.name.toLowerCase()}`,
    "aria-label": `Message from ${device.name}`,
    "data-testid": `message-${kind}`,
    autocomplete: "off",
    maxlength: "4000",
    enterkeyhint: "send",
  });
  const composer = element(
    "form",
    { class: "composer" },
    words,
    element("button", { type: "submit", "data-testid": `send-${kind}` }, "Send"),
  );
  const area = element("textarea", {
    id: `note-${kind}`,
    "data-testid": `note-${kind}`,
    rows: "4",
    spellcheck: "false",
    placeholder: "One text for every device. Type on both sides at once.",
  });
  const toggle = element("button", {
    type: "button",
    class: "switch",
    role: "switch",
    "data-testid": `online-${kind}`,
    "aria-label": `${device.name} online`,
  });
  const body = element(
    "fieldset",
    { disabled: true, "aria-label": `${device.name} content` },
    list,
    composer,
    element("label", { class: "note-label", for: area.id }, "Shared note"),
    area,
  );
  const panel = element(
    "section",
    { class: `device ${kind}`, "data-testid": `device-${kind}`, "aria-label": device.name },
    element(
      "header",
      {},
      element("h2", {}, icon(kind), device.name),
      element("span", { class: "toggle" }, element("span", { "aria-hidden": "true" }, "Online"), toggle),
    ),
    element("div", { class: "standing" }, status.pill, status.detail, status.peers),
    status.live,
    body,
  );
  parent.append(panel);

  let opened: LoneDocument;
  try {
    opened = await openDocument({
      url: options.url,
      name: options.document,
      device,
      online: offlineSwitch.isOnline(kind),
    });
  } catch (error) {
    status.detail.textContent = `This browser refuses to keep a store for the page, so nothing could be written: ${String(error)}`;
    return;
  }
  body.disabled = false;
  panel.dataset["ready"] = "true";

  const turns = opened.doc.getMap<unknown>("turns");
  bindTranscript(list, turns, device);
  bindNote(area, opened.doc.getText("note"));
  composer.addEventListener("submit", (event) => {
    event.preventDefault();
    addTurn(turns, device, words.value);
    words.value = "";
    list.scrollTop = list.scrollHeight;
  });

  const render = () => {
    status.show(opened.status, opened.peers);
    panel.dataset["stored"] = String(opened.stored);
  };
  const setOnline = (online: boolean) => {
    toggle.setAttribute("aria-checked", String(online));
    panel.dataset["online"] = String(online);
  };
  toggle.addEventListener("click", () => {
    const online = toggle.getAttribute("aria-checked") !== "true";
    offlineSwitch.set(kind, online);
    setOnline(online);
    if (online) opened.connect();
    else opened.disconnect();
  });
  setOnline(offlineSwitch.isOnline(kind));
  opened.subscribe(render);
  render();
}
