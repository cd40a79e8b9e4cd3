// What the commands `aegisd qrm …` take; what each does is in qrm.ts. program.ts adds them.
import { type Command, Option } from 'commander';
import { CATEGORIES, ERAS } from '../../actors/words.ts';
import { cursor, number, oneOf } from './argument.ts';
import { addGroup } from './group.ts';

export function addQrm(program: Command, done: (code: number) => void): void {
  const command = addGroup(program, {
    name: 'qrm',
    description: 'the risk score: what it is, what it comes from, what it does',
    who: 'the role admin',
  });

  command('status', 'the score, the recommendation and what they come from')
    .option('--explain', 'show what each of the heaviest indicators does to the score')
    .action(async (options) => done(await (await import('./qrm.ts')).status(options)));
  command('indicators', 'the indicators that are kept, and the feeds').action(async (options) =>
    done(await (await import('./qrm.ts')).indicators(options)),
  );
  command('history', 'what the score was: the last day in 200 steps, unless told')
    .option('--from <ms>', 'Unix time in milliseconds', cursor)
    .option('--to <ms>', 'Unix time in milliseconds', cursor)
    .option('--step <ms>', 'between two points', cursor)
    .action(async (options) => done(await (await import('./qrm.ts')).history(options)));
  command('inject', 'report a threat')
    .argument('[file]', 'JSON of one indicator or an array; left out, the options say it')
    .option('--high', 'severity and confidence 0.95, of the era fault_tolerant, unless told')
    .option('--id <id>', 'by which it can be changed or withdrawn later')
    .addOption(
      new Option('--category <category>', 'what is threatened').choices(CATEGORIES).default('digital_signatures'),
    )
    .option('--sub-category <text>', 'which of that', 'ecdsa')
    .option('--severity <share>', '0 to 1', number(0, 1))
    .option('--confidence <share>', '0 to 1', number(0, 1))
    .option('--source <text>', 'who says so; one source counts once', 'operator')
    .option('--description <text>', 'in one line')
    .option('--era <era>', 'of the machines that the evidence is about', oneOf(...ERAS))
    .option('--reference <text...>', 'where it can be read')
    .action(async (file, options) => done(await (await import('./qrm.ts')).inject(file, options)));
  command('withdraw', 'take back a threat that was reported by its id')
    .argument('<id>', 'as it was given or shown, without operator/')
    .action(async (id, options) => done(await (await import('./qrm.ts')).withdraw(id, options)));
  command('simulate', 'play a simulated threat, where risk.simulation allows it')
    .option('--seed <seed>', 'the same plays the same', cursor, 1)
    .option('--interval <ms>', 'between two rounds', cursor, 2_000)
    .option('--stop', 'end the one that is playing')
    .action(async (options) => done(await (await import('./qrm.ts')).simulate(options)));
}
