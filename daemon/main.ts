#!/usr/bin/env node
// The door of the process. Node opens its debugger on SIGUSR1, through which anyone on the host could read keys, so the
// signal is taken before anything else runs; that is why the rest comes by a dynamic import.
process.on('SIGUSR1', () => process.emit('aegis:rotate' as never));

const { main } = await import('./cli/program.ts');
process.exitCode = await main(process.argv);
