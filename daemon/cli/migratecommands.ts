// What the commands `aegisd migrate …` take; what each does is in migrate.ts. program.ts adds them.
import type { Command } from 'commander';
import { daemonUrl } from './argument.ts';

export function addMigrate(program: Command, done: (code: number) => void): void {
  const migrate = program.command('migrate').description('migrations of state, and the checkpoints of all assets');
  migrate.exitOverride().showHelpAfterError();
  const command = (name: string, description: string) =>
    migrate
      .command(name)
      .description(description)
      .option('-c, --config <file>', 'settings that differ from the embedded sequencer.toml')
      .option('--url <url>', 'ask over TCP instead of the unix socket', daemonUrl)
      .option('--token-file <file>', 'with --url: the file with the token of the role admin')
      .option('--json', 'print one JSON document');
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
