// What the commands `aegisd assets …` take; what each does is in assets.ts. program.ts adds them.
import { type Command, Option } from 'commander';
import { ASSET_STATES, ASSET_TYPES } from '../../actors/words.ts';
import { integer } from './argument.ts';
import { addGroup } from './group.ts';

export function addAssets(program: Command, done: (code: number) => void): void {
  const command = addGroup(program, {
    name: 'assets',
    description: 'registered assets: their policies, and data under their keys',
    who: 'a role that may',
  });
  const load = () => import('./assets.ts');

  command('register', 'put an asset under a policy')
    .argument('<file>', 'JSON as POST /assets/register takes it; - for standard input')
    .action(async (file, options) => done(await (await load()).register(file, options)));
  command('list', 'what is registered, page by page')
    .addOption(new Option('--type <type>', 'of this type').choices(ASSET_TYPES))
    .addOption(new Option('--state <state>', 'in this state').choices(ASSET_STATES))
    .option('--after <cursor>', '`next` of the page before')
    .option('--limit <count>', 'at most', integer(1, 1_000), 100)
    .action(async (options) => done(await (await load()).list(options)));
  command('show', 'policy and state of an asset')
    .argument('<id>', 'of the asset')
    .action(async (id, options) => done(await (await load()).show(id, options)));
  command('policy', 'change the policy of an asset')
    .argument('<id>', 'of the asset')
    .argument('<file>', 'JSON of what changes; - for standard input')
    .action(async (id, file, options) => done(await (await load()).policy(id, file, options)));
  command('remove', 'remove an asset and its data key')
    .argument('<id>', 'of the asset')
    .option('--lose-key', 'although data was encrypted for it, which nobody can read afterwards')
    .action(async (id, options) => done(await (await load()).remove(id, options)));
  for (const operation of ['encrypt', 'decrypt'] as const) {
    command(operation, `${operation} a file under the data key of an asset`)
      .argument('<id>', 'of the asset')
      .argument('[input]', 'a file; left out or -, standard input')
      .option('-o, --output <file>', 'a file that is not there yet; left out or -, standard output')
      .action(async (id, input, options) => done(await (await load()).stream(operation, id, input, options)));
  }
  command('rewrap', 'move the data key of an asset to the active epoch')
    .argument('<id>', 'of the asset')
    .action(async (id, options) => done(await (await load()).rewrap(id, options)));
}
