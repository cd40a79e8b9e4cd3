#!/usr/bin/env node
// The door of the process. Node opens its debugger on SIGUSR1, through which anyone on the host could read keys, so the
// signal is taken before anything else runs; that is why the rest comes by a dynamic import.
process.on('SIGUSR1', () => process.emit('aegis:rotate' as never));
// A hangup before the daemon heeds it would end it, and to systemd that is an end in good order. Until then there is nothing to
// reload, since the settings are still to be read. Other commands end with their terminal, as usual.
if (process.argv[2] === 'start') process.on('SIGHUP', () => process.emit('aegis:reload' as never));

const { main } = await import('./cli/program.ts');
process.exitCode = await main(process.argv);
