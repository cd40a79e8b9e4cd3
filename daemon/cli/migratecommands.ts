// What the commands take that move state: `aegisd migrate …`, backups and what brings one forward, and the import from the sequencer
// before. What each does is in its own file; program.ts adds them.
import type { Command } from 'commander';
import { cursor, daemonUrl } from './argument.ts';
import { addGroup, CONFIG, JSON_OUTPUT } from './group.ts';

export function addMigrate(program: Command, done: (code: number) => void): void {
  const command = addGroup(program, {
    name: 'migrate',
    description: 'migrations of state, and the checkpoints of all assets',
    who: 'the role admin',
  });
  const load = () => import('./migrate.ts');

  command('status', 'the newest migration, and the checkpoints').action(async (options) =>
    done(await (await load()).status(options)),
  );
  command('start', 'begin a migration of all assets, with a checkpoint')
    .option('--sender <address...>', 'whose transactions belong to it')
    .action(async (options) => done(await (await load()).start(options)));
  command('complete', 'complete the migration that runs, for good')
    .argument('<checkpoint-id>', 'its checkpoint')
    .action(async (id, options) => done(await (await load()).end('complete', id, options)));
  command('rollback', 'give up the migration that runs')
    .argument('<checkpoint-id>', 'its checkpoint')
    .action(async (id, options) => done(await (await load()).end('rollback', id, options)));
  command('export', 'write a checkpoint with its snapshots and its seal as a file for `aegisd verify`')
    .argument('<checkpoint-id>', 'one that `aegisd migrate status` lists')
    .requiredOption('--out <file>', 'where it goes; never over a file that is there')
    .action(async (id, options) => done(await (await load()).exportCheckpoint(id, options)));
}

export function addState(program: Command, done: (code: number) => void): void {
  const command = (name: string, description: string) =>
    program
      .command(name)
      .description(description)
      .option(...CONFIG)
      .option(...JSON_OUTPUT);

  command('import', 'register the assets of the deprecated Phala sequencer, and report what was taken of its state')
    .argument('<file>', 'its state as JSON')
    .option('--dry-run', 'report what would be taken, and register nothing')
    .action(async (file, options) => done(await (await import('./import.ts')).importState(file, options)));
  command('backup', 'copy the store of a running daemon; only the same keys open it')
    .requiredOption('--out <dir>', 'where the copy goes; never over anything that is there')
    .action(async (options) => done(await (await import('./backup.ts')).backup(options)));
  command('restore', 'put a backup back where no daemon runs; what is older than what was signed does not start')
    .requiredOption('--from <dir>', 'of `aegisd backup`')
    .option('--seal <file>', 'the newest head that was kept (GET /log/head): an older backup is refused')
    .action(async (options) => done(await (await import('./backup.ts')).restore(options)));
  command('mirror', 'keep what a daemon has published in a file, from where the last run ended')
    .requiredOption('--out <file>', 'entries of the log, batches and heads, one JSON document a line')
    .option('--from <entries>', 'begin a new file here: the entries that a backup has sealed', cursor)
    .option('--url <url>', 'ask over TCP instead of the unix socket', daemonUrl)
    .action(async (options) => done(await (await import('./mirror.ts')).mirror(options)));
  command('resolve-restore', 'bring a restored store forward over what was published, by an admin’s order')
    .requiredOption('--published <file>', 'of `aegisd mirror`')
    .option('--order <file>', 'the signed order; left out, the act that it must have is printed and nothing changed')
    .action(async (options) => done(await (await import('./resolve.ts')).resolveRestore(options)));
}
