#!/usr/bin/env node
// The command `aegisd`, in a checkout (TypeScript, as it is) and where it is installed (JavaScript, which build.ts has made in dist/
// of the package, of install.sh's folder and of the image). The first statement keeps SIGUSR1 from opening the debugger.
process.on('SIGUSR1', () => {});

const { existsSync } = await import('node:fs');
const source = new URL('./daemon/main.ts', import.meta.url);
await import(existsSync(source) ? source.href : './dist/daemon/main.js');
