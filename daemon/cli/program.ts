// The command line: which commands there are and what they take; what each does is in its own file, loaded when it is
// called. Exit codes: 0 done, 1 refused or failed, 2 wrong use.
import { readFileSync } from 'node:fs';
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import { ConfigError } from '../../config/error.ts';
import { Fault } from '../fault.ts';
import { cursor, daemonUrl, integer, oneOf } from './argument.ts';
import { addAssets } from './assetcommands.ts';
import { addDeploy } from './deploycommand.ts';
import { CONFIG as config, JSON_OUTPUT as json } from './group.ts';
import { addHandover } from './handovercommand.ts';
import { addMigrate, addState } from './migratecommands.ts';
import { addNames } from './namescommands.ts';
import { addQrm } from './qrmcommands.ts';

export const VERSION: string = (
  JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as { version: string }
).version;

export const EXIT = { ok: 0, refused: 1, usage: 2 } as const;

/** @returns the exit code */
export async function main(argv: readonly string[]): Promise<number> {
  let code: number = EXIT.ok;
  const program = createProgram((result) => {
    code = result;
  });
  try {
    await program.parseAsync(argv);
    return code;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
    if (error instanceof ConfigError || error instanceof Fault) {
      process.stderr.write(`${error.message}\n`);
      return EXIT.refused;
    }
    if (isOfSystem(error)) {
      process.stderr.write(`${error.message}. Check that it is there, whose it is, and that the disk has room.\n`);
      return EXIT.refused;
    }
    throw error;
  }
}

/** A file or a socket could not be used; everything else that gets here is a mistake of ours and keeps its stack. */
function isOfSystem(error: unknown): error is NodeJS.ErrnoException {
  return error instanceof Error && 'syscall' in error;
}

/** @param done  told the exit code of the command that ran */
export function createProgram(done: (code: number) => void): Command {
  const program = new Command('aegisd')
    .description('Aegis, a post-quantum TEE sequencer: encrypted transactions in, signed and attested batches out.')
    .version(VERSION)
    .exitOverride()
    .showHelpAfterError();

  program
    .command('start')
    .description('run the daemon until SIGTERM or SIGINT')
    .option(...config)
    .option('--json', 'print one JSON line when it is ready')
    .option('--accept-missing-watermark', 'your word, for one start, that no newer copy of this store exists')
    .option('--accept-new-witness', 'your word, for one start, that the witness was replaced or restored on purpose')
    .option('--successor-of <url>', 'take the log over from the enclave there, into an empty state folder', daemonUrl)
    .action(async (options) => done(await (await import('./start.ts')).start(options)));

  program
    .command('witness')
    .description('run the witness of a sequencer, on the second platform, until SIGTERM or SIGINT')
    .option(...config)
    .option('--json', 'print one JSON line when it is ready')
    .option('--accept-missing-watermark', 'your word, for one start, that no newer copy of this store exists')
    .action(async (options) => done(await (await import('./witness.ts')).witness(options)));

  program
    .command('check-config')
    .description('read and check the configuration, start nothing')
    .option(...config)
    .addOption(new Option('--from <file>', 'convert a phala.toml and report each key').conflicts('config'))
    .addOption(new Option('--write <file>', 'where the converted settings go; only with --from'))
    .option(...json)
    .action(async (options, command) => {
      if (options.write !== undefined && options.from === undefined) command.error('error: --write needs --from');
      done(await (await import('./check-config.ts')).checkConfig(options));
    });

  program
    .command('status')
    .description('ask a running daemon how it is')
    .option(...config)
    .option('--url <url>', 'ask over TCP instead of the unix socket', daemonUrl)
    .option(...json)
    .action(async (options) => done(await (await import('./status.ts')).status(options)));

  program
    .command('send')
    .description('encrypt a raw signed transaction and submit it')
    .argument('[transaction]', '0x-hex of a signed EIP-2718 transaction; - reads it from standard input')
    .option('--sample', 'sign a transfer of nothing with a key made for it, to try things out')
    .option('--scheme <scheme>', 'x-wing or ecies', oneOf('x-wing', 'ecies'), 'x-wing')
    .option('--asset <id...>', 'ids of the assets it touches')
    .option('--tx-id <label>', 'a label of your own')
    .option('--wait', 'wait until its batch is sealed')
    .option('--timeout <seconds>', 'how long to wait', seconds, 60)
    .option('--policy <file>', 'what the keyset must come from (TOML or JSON); needed for hardware')
    .option(...config)
    .option('--url <url>', 'submit over TCP instead of the unix socket', daemonUrl)
    .option(...json)
    .action(async (transaction, options) => done(await (await import('./send.ts')).send(transaction, options)));

  program
    .command('verify')
    .description('check batch files offline, believing nothing that they say of themselves')
    .argument('[file...]', 'batch files, as GET /batches/{height} gives them')
    .option('--since <file>', 'a head that was kept (GET /log/head) or a batch file: history must only have grown')
    .option('--url <url>', 'with --since: take the newest head, and proofs, from this daemon', daemonUrl)
    .option('--proof <file>', 'with --since: an answer of GET /log/consistency; may be given again', collect)
    .option('--handover <file>', 'an answer of GET /handover: keys that ended by it sign nothing beyond it', collect)
    .option('--allow-simulated', 'accept evidence of the simulator, which proves nothing about hardware')
    .option('--policy <file>', 'roots, measurements, log id and key sources to accept (TOML or JSON)')
    .option('--at <time>', 'judge collateral at this time (RFC 3339)')
    .option(...json)
    .action(async (files, options) => done(await (await import('./verify.ts')).verify(files, options)));

  program
    .command('verify-quote')
    .description(
      'check one piece of hardware evidence: a quote, a report, or a guest agent’s answer with its event log',
    )
    .argument('<file>', 'bytes, hex, base64, the answer of GetQuote, an attestation, or a file that has one')
    .option(
      '--collateral <file|folder|url>',
      'JSON; of SEV-SNP also certificates and the list, one file each; may be given again. Or one folder as attestation.collateral_dir, or the URL of a PCCS, of Intel or of AMD’s KDS',
      collect,
    )
    .option('--at <time>', 'judge collateral at this time (RFC 3339)')
    .option('--policy <file>', 'roots, measurements, TCB statuses, applications to accept (TOML or JSON)')
    .option('--report-data <hex>', 'what it must attest; shorter than 64 bytes is padded with zeros')
    .option('--allow-simulated', 'accept a root that is not that of a maker of hardware')
    .option(...json)
    .action(async (file, options) => done(await (await import('./verify-quote.ts')).verifyQuote(file, options)));

  program
    .command('watch')
    .description('show the feed live, one line an entry, until Ctrl-C')
    .option('--cursor <n>', 'begin behind this entry; 0 is the beginning (default: now)', cursor)
    .option('--types <types>', 'only entries of these types, separated by commas')
    .option(...config)
    .option('--url <url>', 'watch over TCP instead of the unix socket', daemonUrl)
    .option('--json', 'print the entries as JSON, one a line')
    .action(async (options) => done(await (await import('./watch.ts')).watch(options)));

  program
    .command('audit')
    .description('follow a daemon from elsewhere and raise an alarm when its history does anything but grow')
    .requiredOption('--state <file>', 'where the newest verified head is kept; made at the first look')
    .option('--url <url>', 'the daemon; left out, the one of the configuration', daemonUrl)
    .option('--interval <seconds>', 'between two looks', seconds, 10)
    .option('--once', 'look once')
    .option('--allow-simulated', 'accept evidence of the simulator, which proves nothing about hardware')
    .option('--policy <file>', 'roots, measurements, log id and key sources to accept (TOML or JSON)')
    .option('--at <time>', 'judge evidence at this time (RFC 3339)')
    .option(...config)
    .option('--json', 'print one JSON document a line')
    .action(async (options) => done(await (await import('./audit.ts')).audit(options)));

  program
    .command('epochs')
    .description('the epochs of keys and where each stands; `rotate` announces the next one')
    .argument('[act]', 'list or rotate', oneOf('list', 'rotate'), 'list')
    .option('--reason <reason>', 'of a rotation: manual or compromise, which ends grace', oneOf('manual', 'compromise'))
    .option('--delay-blocks <count>', 'batches until then (default: rotation.delay_blocks)', blocks)
    .option(...config)
    .option('--url <url>', 'list over TCP instead of the unix socket', daemonUrl)
    .option(...json)
    .action(async (act, options) => done(await (await import('./epochs.ts')).epochs(act, options)));

  program
    .command('demo')
    .description('run the main path on a daemon of its own: sign, encrypt, submit, seal, verify')
    .addOption(
      new Option('--risk', 'a threat from calm to emergency and back, in simulated time').conflicts('transactions'),
    )
    .addOption(
      new Option('--assets', 'policies, protection and data of registered assets').conflicts(['transactions', 'risk']),
    )
    .addOption(
      new Option('--epochs', 'five rotations of keys under load, killed in between').conflicts([
        'transactions',
        'risk',
        'assets',
      ]),
    )
    .addOption(
      new Option('--tee <platform>', 'on this simulated platform: dstack runs a witness on a second one, too')
        .choices(['simulator', 'dstack'])
        .conflicts(['risk', 'assets', 'epochs']),
    )
    .addOption(
      new Option('--names <count>', 'so many IPNS names over 60 simulated hours, with an outage and a rotation')
        .argParser(count)
        .conflicts(['transactions', 'risk', 'assets', 'epochs', 'tee']),
    )
    .addOption(
      new Option('--handover', 'to a second process with another root and another image, under load').conflicts([
        'transactions',
        'risk',
        'assets',
        'epochs',
        'tee',
        'names',
      ]),
    )
    .option('--transactions <count>', 'how many', count, 200)
    .option('--keep <dir>', 'keep batch files and the daemon’s log there')
    .option(...json)
    .action(async (options) => {
      if (options.tee === 'dstack') done(await (await import('./teedemo.ts')).teeDemo(options));
      else if (options.handover === true) done(await (await import('./handoverdemo.ts')).handoverDemo(options));
      else if (options.names !== undefined) done(await (await import('./namesdemo.ts')).namesDemo(options));
      else if (options.epochs === true) done(await (await import('./epochdemo.ts')).epochDemo(options));
      else if (options.assets === true) done(await (await import('./assetdemo.ts')).assetDemo(options));
      else if (options.risk === true) done(await (await import('./riskdemo.ts')).riskDemo(options));
      else done(await (await import('./demo.ts')).demo(options));
    });

  program
    .command('guest-agent')
    .description('test equipment: a simulated dstack guest agent, for keys.source = "dstack" without a CVM')
    .requiredOption('--socket <path>', 'where it listens')
    .option(
      '--keys <file>',
      'keys in the form of appkeys.json; made there when the file is missing; left out, kept nowhere',
    )
    .option('--pki <dir>', 'the simulator whose quotes it gives: simulator/pki in the state folder of a daemon')
    .option('--release <release>', '0.5.11 or 0.6.0, whose ways it has', oneOf('0.5.11', '0.6.0'), '0.5.11')
    .option(...config)
    .option(...json)
    .action(async (options) => done(await (await import('./guest-agent.ts')).guestAgent(options)));

  addState(program, done);
  addDeploy(program, done);
  addAdmin(program, done);
  addAssets(program, done);
  addHandover(program, done);
  addMigrate(program, done);
  addNames(program, done);
  addQrm(program, done);

  for (const command of leaves(program)) command.exitOverride().showHelpAfterError();
  return program;
}

/** Commands that do something; a group of them does nothing by itself. */
export const leaves = (command: Command): Command[] =>
  command.commands.flatMap((each) => (each.commands.length === 0 ? [each] : leaves(each)));

function addAdmin(program: Command, done: (code: number) => void): void {
  const admin = program.command('admin').description('keys of admins, and the orders that they sign');
  admin.exitOverride().showHelpAfterError();
  /** What every order says. */
  const order = (name: string, description: string) =>
    admin
      .command(name)
      .description(description)
      .requiredOption('--act <json>', 'what is ordered, as the API’s page lists it; @FILE reads it from a file')
      .option('--log-id <id>', 'the log that it is for; left out, the one that a running daemon names')
      .addOption(
        new Option('--expires <duration>', 'how long it can be executed: 90s, 30m, 1h, 7d; at most 30d')
          .argParser(duration)
          .default(HOUR_MS, '1h'),
      )
      .option(...config)
      .option('--url <url>', 'ask for the log over TCP instead of the unix socket', daemonUrl);

  admin
    .command('keygen')
    .description('make the key of an admin, and print its public half')
    .requiredOption('--out <file>', 'where the key goes, mode 0600; never over a file that is there')
    .option('--json', 'print one JSON document')
    .action(async (options) => done(await (await import('./admin.ts')).keygen(options)));
  order('sign', 'sign an order, and print it')
    .requiredOption('--key <file>', 'a file of `aegisd admin keygen`')
    .action(async (options) => done(await (await import('./admin.ts')).sign(options)));
  order('digest', 'print an order and its digest, for a key that is not in a file to sign')
    .requiredOption('--public-key <key>', 'the raw public key in base64; @FILE reads it from a file')
    .action(async (options) => done(await (await import('./admin.ts')).digest(options)));
  admin
    .command('attach')
    .description('put the signature to an order that `aegisd admin digest` has printed, check it, and print the order')
    .argument('<file>', 'what that command printed')
    .requiredOption('--signature <signature>', 'ML-DSA-87 over the digest, in base64; @FILE reads it from a file')
    .action(async (file, options) => done(await (await import('./admin.ts')).attach(file, options)));
  admin
    .command('submit')
    .description('hand a signed order to a running daemon, which executes it once')
    .argument('<file>', 'the order')
    .option(...config)
    .option('--url <url>', 'hand it in over TCP instead of the unix socket', daemonUrl)
    .addOption(new Option('--token-file <file>', 'with --url: the file with the token of the role admin'))
    .option('--json', 'print one JSON document')
    .action(async (file, options) => done(await (await import('./admin.ts')).submit(file, options)));
}

const collect = (value: string, before: readonly string[] = []): string[] => [...before, value];

const seconds = integer(1, 3600);
const blocks = integer(0, 1_000_000);

const HOUR_MS = 3_600_000;
const UNITS_MS: Readonly<Record<string, number>> = { s: 1_000, m: 60_000, h: HOUR_MS, d: 24 * HOUR_MS };

/** In ms. */
const duration = (value: string): number => {
  const [, digits, unit = ''] = /^([1-9]\d{0,6})([smhd])$/.exec(value) ?? [];
  const duration_ms = Number(digits) * (UNITS_MS[unit] ?? Number.NaN);
  if (duration_ms <= 30 * 24 * HOUR_MS) return duration_ms;
  throw new InvalidArgumentError('expected a number and s, m, h or d, at most 30d');
};
const count = integer(1, 10_000);
