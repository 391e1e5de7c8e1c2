/** One device of the page: a client of its own, with its own store, connection and network. */
import { type Frame, Syncline } from "@syncline/client";
import { Activity } from "./activity.ts";
import { Assistant } from "./assistant.ts";
import { Network } from "./network.ts";
import { currentToken, type DeviceRole, deviceId } from "./place.ts";

export class DemoDevice {
  readonly role: DeviceRole;
  readonly client: Syncline;
  readonly network: Network;
  readonly activity = new Activity();
  readonly assistant: Assistant;
  readonly #api: string;
  readonly #headers: Readonly<Record<string, string>>;

  constructor(person: string, role: DeviceRole) {
    this.role = role;
    this.network = new Network(role.name);
    const token = currentToken();
    this.client = new Syncline({
      url: location.origin,
      user: person,
      device: { id: deviceId(role.name), name: role.title, kind: role.kind },
      online: this.network.mode.value !== "offline",
      WebSocket: this.network.WebSocket,
      fetch: this.network.fetch,
      ...(token === undefined ? {} : { token }),
    });
    this.client.onFrame((frame: Frame) => this.activity.heard(frame));
    this.network.mode.subscribe(() => {
      if (this.network.mode.value === "offline") this.client.disconnect();
      else this.client.connect();
    });
    this.assistant = new Assistant(this.client, `syncline.owed.${person}.${role.name}`);
    this.#api = `/v1/users/${encodeURIComponent(person)}`;
    this.#headers = token === undefined ? {} : { authorization: `Bearer ${token}` };
  }

  /** Asks the server's HTTP API, past this device's network. */
  async ask(path: string): Promise<unknown> {
    const answer = await fetch(`${this.#api}${path}`, { headers: this.#headers });
    if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
    return answer.json();
  }

  /** Hands a file to the importer. */
  readonly post = (body: Blob): Promise<Response> =>
    this.network.fetch(`${this.#api}/import`, { method: "POST", body, headers: this.#headers });
}
