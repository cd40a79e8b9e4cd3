#!/usr/bin/env node
// The command `aegisd`, in a checkout (TypeScript, as it is) and in the installed package (dist/, where `npm pack` put it as
// JavaScript, because Node strips no types below node_modules). The first statement keeps SIGUSR1 from opening the debugger.
process.on('SIGUSR1', () => {});

const { existsSync } = await import('node:fs');
const source = new URL('./daemon/main.ts', import.meta.url);
await import(existsSync(source) ? source.href : './dist/daemon/main.js');
