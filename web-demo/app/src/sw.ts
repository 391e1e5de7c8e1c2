/**
 * Keeps the page for when the server is not there: the devices' own stores hold what is on it, this holds the page.
 *
 * What is kept is one build as a whole, never a page of one with scripts of another. The server's page comes first: a
 * new version shows at the next load, and is kept once all its files are here. The HTTP API, its page and the sockets
 * are none of this script's business.
 */
/// <reference lib="webworker" />
import { clientsClaim } from "workbox-core";
import {
  cleanupOutdatedCaches,
  matchPrecache,
  type PrecacheEntry,
  precacheAndRoute,
} from "workbox-precaching";
import { NavigationRoute, registerRoute } from "workbox-routing";
import { NetworkOnly } from "workbox-strategies";

declare const self: ServiceWorkerGlobalScope;
/** The files of this build; put in by the build. */
declare const FILES: PrecacheEntry[];

/** A server that says nothing for so long is as good as none; the page knows how to wait for it. */
const PATIENCE_S = 5;
const PAGE = "/index.html";

const pageFirst = new NetworkOnly({
  networkTimeoutSeconds: PATIENCE_S,
  plugins: [
    {
      // What a proxy says for a server that is not there.
      fetchDidSucceed: async ({ response }) => {
        if (response.status >= 500) throw new Error(`the server answered ${response.status}`);
        return response;
      },
      handlerDidError: () => matchPrecache(PAGE),
    },
  ],
});

// Before the files, which are taken from the cache first.
registerRoute(new NavigationRoute(pageFirst, { allowlist: [/^\/(index\.html)?(\?|$)/] }));
precacheAndRoute(FILES);
cleanupOutdatedCaches();
void self.skipWaiting();
clientsClaim();
