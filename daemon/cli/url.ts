// What `--url` takes: the address of a daemon, which speaks plain HTTP at the root. A path or a password in it would be
// ignored, so it is refused; program.ts checks it as an argument, connection.ts once more for everyone else.

/** `http://host:port`, with nothing behind it. */
export function isDaemonUrl(text: string): boolean {
  const url = URL.parse(text);
  if (url === null || url.protocol !== 'http:' || url.hostname === '') return false;
  return url.pathname === '/' && url.search === '' && url.hash === '' && url.username === '' && url.password === '';
}
