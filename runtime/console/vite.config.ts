// Builds the console into files that are served at /console/, and serves it while it is worked on, with a running `stepwell
// serve` behind it: STEPWELL_ENDPOINT says where (http://127.0.0.1:8083 when nothing does).

import { defineConfig, type ProxyOptions } from "vite";

/** Where the console lies on the server. */
const BASE = "/console/";

/** Headers that tell a server that a page of another address asks: while developing, the page's address is Vite's. */
const PAGE_HEADERS = ["origin", "referer", "sec-fetch-site"];

const server: ProxyOptions = {
  target: process.env["STEPWELL_ENDPOINT"] ?? "http://127.0.0.1:8083",
  // Requests are signed for the host that the browser asked.
  changeOrigin: false,
  configure: (proxy) => {
    proxy.on("proxyReq", (request) => {
      for (const name of PAGE_HEADERS) {
        request.removeHeader(name);
      }
    });
  },
};
const proxy = { [`^(?!${BASE})`]: server };

export default defineConfig({
  base: BASE,
  server: { proxy },
  preview: { proxy },
  build: {
    target: "es2022",
    // All of it is files of its own: the server's Content-Security-Policy knows neither `data:` nor what is inline.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    // Of React and the others, whose licences ask for it.
    license: { fileName: "licenses.txt" },
  },
});
