// A page in headless Chromium: serves scripts and a daemon's API from one origin, opens the page, and waits for what it
// reports. The page may run its own scripts and nothing else: no eval, no other host.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { accessSync, constants, mkdirSync } from 'node:fs';
import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { delimiter, join } from 'node:path';
import { text } from 'node:stream/consumers';

/** Where it is installed; undefined where it isn't. */
export const CHROMIUM = ['chromium', 'chromium-browser', 'google-chrome']
  .flatMap((name) => (process.env.PATH ?? '').split(delimiter).map((folder) => join(folder, name)))
  .find((path) => {
    try {
      accessSync(path, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });

/** Root has no sandbox; the rest keeps it from calling home. */
const FLAGS = [
  ...['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--disable-dev-shm-usage'],
  ...['--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
];
const POLICY = "default-src 'none'; script-src 'self'; connect-src 'self'";
const PAGE = '<!doctype html><meta charset="utf-8"><script type="module" src="/page.js"></script>';
const TIMEOUT_MS = 90_000;

interface Visit {
  /** For the browser's profile and whatever else it leaves; made here. */
  readonly folder: string;
  /** The daemon, which the page finds below /api/. */
  readonly api: string;
  /** By name; `page.js` runs, and reports by posting JSON to /report. */
  readonly scripts: Readonly<Record<string, string>>;
}

/** @returns what the page reported. @throws when Chromium ends, or says nothing in time */
export async function browse({ folder, api, scripts }: Visit): Promise<unknown> {
  const { promise: report, resolve, reject } = Promise.withResolvers<unknown>();
  const server = createServer(async (incoming, outgoing) => {
    const path = incoming.url ?? '/';
    if (path.startsWith('/api/')) return forward(incoming, outgoing, `${api}${path.slice('/api'.length)}`);
    if (path === '/report') resolve(JSON.parse(await text(incoming)));
    const script = scripts[path.slice(1)];
    const type = script === undefined ? 'text/html' : 'text/javascript';
    outgoing.writeHead(200, { 'content-type': type, 'content-security-policy': POLICY }).end(script ?? PAGE);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;

  const page = `http://127.0.0.1:${port}/`;
  mkdirSync(folder);
  const browser = spawn(CHROMIUM!, [...FLAGS, `--user-data-dir=${join(folder, 'profile')}`, page], {
    env: { ...process.env, TMPDIR: folder },
    detached: true,
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let said = '';
  browser.stderr.setEncoding('utf8').on('data', (line: string) => {
    said = `${said}${line}`.slice(-4_000);
  });
  browser.on('error', reject);
  browser.on('exit', (code) => reject(new Error(`chromium ended with ${code}: ${said}`)));
  const timer = setTimeout(() => reject(new Error(`no report in ${TIMEOUT_MS} ms: ${said}`)), TIMEOUT_MS);
  try {
    return await report;
  } finally {
    clearTimeout(timer);
    const ended = browser.exitCode === null ? once(browser, 'exit') : undefined;
    // Its own group: Chromium is many processes.
    if (browser.pid !== undefined && ended !== undefined) process.kill(-browser.pid, 'SIGKILL');
    await ended;
    server.closeAllConnections();
    server.close();
  }
}

function forward(incoming: IncomingMessage, outgoing: ServerResponse, target: string): void {
  const { host: _, ...headers } = incoming.headers;
  const onward = request(target, { method: incoming.method, headers }, (answer) => {
    outgoing.writeHead(answer.statusCode!, answer.headers);
    answer.pipe(outgoing);
  });
  onward.on('error', () => outgoing.destroy());
  incoming.pipe(onward);
}
