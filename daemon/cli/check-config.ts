// `aegisd check-config`: the effective settings, or every mistake with file, line, key and what is allowed; with `--from`, what
// a configuration of the upstream comes to here, key by key.
import { writeFileSync } from 'node:fs';
import { canonicalJson } from '../../actors/canonical.ts';
import { type Change, diff } from '../../config/diff.ts';
import { ConfigError, issueText } from '../../config/error.ts';
import { loadConfig } from '../../config/load.ts';
import { convertPhala, type Outcome, type ReportLine } from '../../config/phala.ts';
import { readSource } from '../../config/source.ts';
import { ruleFlaws } from '../rules.ts';
import { EXIT } from './program.ts';

export interface CheckOptions {
  readonly config?: string;
  readonly from?: string;
  readonly write?: string;
  readonly json?: boolean;
}

export async function checkConfig(options: CheckOptions): Promise<number> {
  try {
    if (options.from !== undefined) return convert(options.from, options);
    const { config, sources } = loadConfig({ file: options.config, check: ruleFlaws });
    const changes = diff(loadConfig({ environment: {} }).config, config);
    if (options.json === true) {
      process.stdout.write(`{"ok":true,"sources":${JSON.stringify(sources)},"config":${canonicalJson(config)}}\n`);
      return EXIT.ok;
    }
    const lines = changes.map(({ key, before, after }) => `  ${key} = ${shown(after)} (default ${shown(before)})`);
    const said = lines.length === 0 ? ['  every setting has its default'] : lines;
    process.stdout.write(`The configuration is good: ${sources.join(', ')}\n${said.join('\n')}\n`);
    return EXIT.ok;
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    if (options.json === true) process.stdout.write(`${JSON.stringify({ ok: false, issues: error.issues })}\n`);
    else process.stderr.write(`${error.issues.map(issueText).join('\n')}\n`);
    return EXIT.refused;
  }
}

/** A list may hold keys of thousands of characters. */
function shown(value: Change['after']): string {
  if (typeof value !== 'object') return String(value);
  return Array.isArray(value) ? `a list of ${value.length}` : `a table of ${Object.keys(value).length}`;
}

/** @returns ok only if every key of the file acts here, or says what Aegis does anyway */
function convert(from: string, options: CheckOptions): number {
  const { settings, report } = convertPhala(readSource(from, from), loadConfig({ environment: {} }).config);
  if (options.write !== undefined) write(options.write, settings);
  const ok = report.every(({ outcome }) => outcome !== 'refused');
  if (options.json === true) process.stdout.write(`${JSON.stringify({ ok, settings, report })}\n`);
  else
    process.stdout.write(`${said(from, report)}\n\n${options.write === undefined ? settings : written(options.write)}`);
  return ok ? EXIT.ok : EXIT.refused;
}

/** Not over a file that is there: it could be the settings that somebody runs on. */
function write(file: string, settings: string): void {
  try {
    writeFileSync(file, settings, { flag: 'wx' });
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    const message = code === 'EEXIST' ? 'is there already, and is left as it is' : `cannot be written: ${code}`;
    throw new ConfigError([{ file, line: 0, column: 0, key: '', message }], { cause });
  }
  loadConfig({ file, check: ruleFlaws });
}

const written = (file: string) => `The settings are in ${file}; start with: aegisd start --config ${file}\n`;

function said(from: string, report: readonly ReportLine[]): string {
  const lines = report.map(({ key, value, line, outcome, reason }) => {
    const place = line === undefined ? from : `${from}:${line}`;
    return `${place} ${key}${value === undefined ? '' : ` = ${value}`}: ${outcome}: ${reason}`;
  });
  const count = (wanted: Outcome) => report.filter(({ outcome }) => outcome === wanted).length;
  const sum = `${report.length} keys: ${count('mapped')} mapped, ${count('implied')} implied, ${count('refused')} refused`;
  return [...lines, sum].join('\n');
}
