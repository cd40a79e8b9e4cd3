// What the command `aegisd handover` takes; what it does is in handover.ts. program.ts adds it.
import { type Command, Option } from 'commander';
import { daemonUrl } from './argument.ts';
import { CONFIG, JSON_OUTPUT } from './group.ts';

const TIMEOUT_S = 3_600;

export function addHandover(program: Command, done: (code: number) => void): void {
  program
    .command('handover')
    .description('let a successor enclave take over, if an admin’s order allows it')
    .argument('[successor-url]', 'where clients go on (default: handover.successor_url)')
    .addOption(new Option('--status', 'how it stands, and who may succeed').conflicts(['cancel', 'wait']))
    .addOption(new Option('--cancel', 'let nobody come any more, and go on here').conflicts('wait'))
    .option('--wait', 'until this enclave has ended and a seal says so')
    .addOption(new Option('--timeout <seconds>', 'how long to wait').argParser(Number).default(TIMEOUT_S))
    .option(...CONFIG)
    .option('--url <url>', 'ask over TCP instead of the unix socket', daemonUrl)
    .option('--token-file <file>', 'with --url: the file with the token of the role admin')
    .option(...JSON_OUTPUT)
    .action(async (url, options) => done(await (await import('./handover.ts')).handover(url, options)));
}
