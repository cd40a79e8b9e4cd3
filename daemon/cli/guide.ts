// docs/cli.md, made from what commander knows of the commands: `npm run docs` writes it (docs/generate.ts), a test holds it
// against this. What a command takes is said in program.ts and nowhere else.
import type { Argument, Command, Option } from 'commander';
import { createProgram, leaves } from './program.ts';

const HEAD = `<!-- Made by daemon/cli/guide.ts: npm run docs -->
# The command line

\`npx aegisd\` in a checkout after \`npm ci\`, or \`npx aegisd\` in a project that has the package. Every command has \`--help\`; those
that print something for people print it for programs with \`--json\`, and only that goes to standard output. Commands that ask a
running daemon find its unix socket through the configuration, so run them where the daemon runs, or give \`--url\`.

| exit code | meaning |
| --- | --- |
| 0 | done |
| 1 | refused, or failed; the reason is on standard error, or in the JSON |
| 2 | wrong use: an argument, or a file that cannot be read |
`;

export function cliGuide(): string {
  const commands = leaves(createProgram(() => {}));
  const listed = commands.map((command) => {
    const name = nameOf(command);
    return [`[\`${name}\`](#aegisd-${name.replaceAll(' ', '-')})`, sentence(command)];
  });
  return [HEAD, table(['command', 'what it does'], listed), '', ...commands.map(section)].join('\n');
}

function section(command: Command): string {
  const { options, registeredArguments } = command;
  const rows = [
    ...registeredArguments.map((argument) => [`\`${shown(argument)}\``, argument.description]),
    ...options.map((option) => [`\`${option.flags}\``, meaning(option)]),
  ];
  const usage = [
    'aegisd',
    nameOf(command),
    ...(options.length > 0 ? ['[options]'] : []),
    ...registeredArguments.map(shown),
  ];
  return [
    `## aegisd ${nameOf(command)}`,
    '',
    `${sentence(command)}.`,
    '',
    '```',
    usage.join(' '),
    '```',
    '',
    table(['argument or option', 'meaning'], rows),
    '',
  ].join('\n');
}

/** With the groups that it is in: `admin sign`. */
function nameOf(command: Command): string {
  const { parent } = command;
  return parent === null || parent.parent === null ? command.name() : `${nameOf(parent)} ${command.name()}`;
}

function sentence(command: Command): string {
  const description = command.description();
  return description[0]!.toUpperCase() + description.slice(1);
}

function shown(argument: Argument): string {
  const name = argument.name() + (argument.variadic ? '...' : '');
  return argument.required ? `<${name}>` : `[${name}]`;
}

function meaning({ description, mandatory, defaultValue, defaultValueDescription }: Option): string {
  if (mandatory) return `${description}; required`;
  if (defaultValue === undefined) return description;
  return `${description}; ${defaultValueDescription ?? String(defaultValue)} where left out`;
}

function table(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
  return [line(header), line(header.map(() => '---')), ...rows.map(line)].join('\n');
}
