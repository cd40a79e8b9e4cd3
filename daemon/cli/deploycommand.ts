// What `aegisd deploy` takes; what it does is in deploy.ts. program.ts adds it.
import { type Command, InvalidArgumentError, Option } from 'commander';
import { ROLES } from '../api/token.ts';
import { isPinned } from '../deploy/reference.ts';
import { TARGETS } from '../deploy/target.ts';
import { daemonUrl } from './argument.ts';

const pinned = (value: string): string => {
  if (isPinned(value)) return value;
  throw new InvalidArgumentError('expected an image by its digest: name@sha256: and 64 hex digits');
};

const appName = (value: string): string => {
  if (/^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/.test(value)) return value;
  throw new InvalidArgumentError('expected 1 to 63 lower-case letters, digits and hyphens');
};

export function addDeploy(program: Command, done: (code: number) => void): void {
  program
    .command('deploy')
    .description('write what a deployment needs: an image and an app for dstack, or files for systemd')
    .addOption(new Option('--target <target>', 'where it goes').choices(TARGETS).makeOptionMandatory())
    .requiredOption('--out <dir>', 'where the files go; never over anything that is there')
    .option('-c, --config <file>', 'settings that differ from the embedded sequencer.toml')
    .addOption(new Option('--from <file>', 'convert a phala.toml in place of --config').conflicts('config'))
    .option('--accept-refused', 'with --from: go on although some of its keys do nothing here')
    .option('--base <image>', 'dstack: write the Dockerfile over this image, which has npm; by digest', pinned)
    .option('--image <image>', 'dstack: write the compose files of this image; by digest', pinned)
    .option('--name <name>', 'dstack: of the app', appName, 'aegisd')
    .addOption(
      new Option('--token <role...>', 'dstack: roles whose tokens come as encrypted variables').choices([...ROLES]),
    )
    .option('--successor-of <url>', 'dstack: the app takes the log over from the enclave there', daemonUrl)
    .option('--json', 'print one JSON document')
    .action(async (options, command) => {
      const { target, from, acceptRefused, base, image } = options;
      const wrong = (message: string): void => command.error(`error: ${message}`);
      if (acceptRefused && from === undefined) wrong('--accept-refused needs --from');
      if (target === 'dstack' && base === undefined && image === undefined)
        wrong('dstack needs --base for the image, --image for the app, or both');
      const ofDstack = [base, image, options.token, options.successorOf];
      if (target === 'systemd' && ofDstack.some((given) => given !== undefined))
        wrong('--base, --image, --token and --successor-of are for dstack');
      if (options.successorOf !== undefined && image === undefined) wrong('--successor-of needs --image');
      done(await (await import('./deploy.ts')).deploy(options));
    });
}
