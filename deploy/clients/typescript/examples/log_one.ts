// node log_one.js URL node|web [ID_TOKEN]: logs one event, with one key for all attempts, and prints its id.
import { Code, ConnectError, createClient, type Interceptor, type Transport } from "@connectrpc/connect";
import * as node from "@connectrpc/connect-node";
import * as web from "@connectrpc/connect-web";
import { EventLoggingService, RetryInfoSchema } from "nest-event-logging-client";

const PATIENCE_MS = 30_000;
const [baseUrl = "", kind = "node", token] = process.argv.slice(2);

// In production: a token of google-auth-library's getIdTokenClient(baseUrl), asked for at each call.
const authorized: Interceptor = (next) => (request) => {
  if (token) request.header.set("authorization", `Bearer ${token}`);
  return next(request);
};

const transports: Record<string, () => Transport> = {
  node: () => node.createConnectTransport({ baseUrl, httpVersion: "1.1", interceptors: [authorized] }),
  web: () => web.createConnectTransport({ baseUrl, interceptors: [authorized] }), // wherever there is fetch
};
const transport = transports[kind];
if (!transport) throw new Error(`${kind} is neither node nor web`);
const client = createClient(EventLoggingService, transport());

const event = {
  eventName: "order_paid",
  metadata: { value: 12.5, currency: "EUR" },
  forwardToStatsig: false,
  idempotencyKey: crypto.randomUUID(),
};
const end = Date.now() + PATIENCE_MS;
for (let attempt = 0; ; attempt++) {
  try {
    const { eventId } = await client.logEvent(event, { timeoutMs: 8_000 });
    console.log(eventId);
    break;
  } catch (error) {
    const asked = retryAfterMs(ConnectError.from(error));
    const wait = (asked ?? 0) + Math.min(200 * 2 ** attempt, 5_000) * (0.5 + Math.random() / 2);
    if (asked === undefined || Date.now() + wait >= end) throw error;
    await new Promise((resolve) => setTimeout(resolve, wait));
  }
}

/** What the server asks to wait at the least; undefined where waiting does not help. */
function retryAfterMs(error: ConnectError): number | undefined {
  const [info] = error.findDetails(RetryInfoSchema);
  const retried = [Code.Unavailable, Code.DeadlineExceeded].includes(error.code);
  if (!retried && !(error.code === Code.ResourceExhausted && info)) return undefined;
  return Number(info?.retryDelay?.seconds ?? 0) * 1000 + (info?.retryDelay?.nanos ?? 0) / 1e6;
}
