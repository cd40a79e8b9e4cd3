// What the commands `aegisd names …` take; what each does is in names.ts. program.ts adds them.
import { type Command, Option } from 'commander';
import { NAME_STATES } from '../../actors/words.ts';
import { integer } from './argument.ts';
import { addGroup } from './group.ts';

export function addNames(program: Command, done: (code: number) => void): void {
  const command = addGroup(program, {
    name: 'names',
    description: 'IPNS names that are republished for their owners',
    who: 'a role that may',
  });
  const load = () => import('./names.ts');

  command('enrol', 'have names republished; those that are enrolled get the key, and a newer record')
    .argument('<file>', 'JSON of one enrolment or an array, as POST /names takes it')
    .action(async (file, options) => done(await (await load()).enrol(file, options)));
  command('show', 'where a name stands')
    .argument('<name>', 'k51…')
    .action(async (name, options) => done(await (await load()).show(name, options)));
  command('list', 'enrolled names')
    .addOption(new Option('--state <state>', 'only those that stand there').choices(NAME_STATES))
    .option('--after <name>', 'behind this one')
    .option('--limit <count>', 'at most so many', integer(1, 1_000), 100)
    .action(async (options) => done(await (await load()).list(options)));
  command('remove', 'republish a name no more, and remove its key')
    .argument('<name>', 'k51…')
    .action(async (name, options) => done(await (await load()).remove(name, options)));
  command('health', 'how republishing goes').action(async (options) => done(await (await load()).health(options)));
}
