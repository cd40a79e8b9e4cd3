// Groups of commands that ask a running daemon, `aegisd assets …` and its like: each has the same options for where the daemon is and
// who asks. A group's own file says what its commands take; program.ts adds the groups.
import type { Command } from 'commander';
import { daemonUrl } from './argument.ts';

export const CONFIG = ['-c, --config <file>', 'settings that differ from the embedded sequencer.toml'] as const;
export const JSON_OUTPUT = ['--json', 'print one JSON document'] as const;

/**
 * @param who  whose token TCP takes: `a role that may`, or `the role admin`
 * @returns    makes a command of the group
 */
export function addGroup(
  program: Command,
  { name, description, who }: { readonly name: string; readonly description: string; readonly who: string },
): (name: string, description: string) => Command {
  const group = program.command(name).description(description);
  group.exitOverride().showHelpAfterError();
  return (each, about) =>
    group
      .command(each)
      .description(about)
      .option(...CONFIG)
      .option('--url <url>', 'ask over TCP instead of the unix socket', daemonUrl)
      .option('--token-file <file>', `with --url: the file with the token of ${who}`)
      .option(...JSON_OUTPUT);
}
