/**
 * What a broken configuration is thrown as. The CLI prints it as it is; a reload logs it and keeps the old settings.
 * Holds every issue found, in the order of the file, each with its place and with what would be right. Values are
 * shown only for keys that the schema knows, since what stands behind a mistyped key could be a secret.
 */

export interface Issue {
  /** As the operator wrote it, or relative to the working directory. */
  readonly file: string;
  /** From 1; 0 when the whole file is meant. */
  readonly line: number;
  /** From 1, counted in UTF-16 units; 0 when the whole file is meant. */
  readonly column: number;
  /** `section.key`, a section, or '' for the file. */
  readonly key: string;
  /** The value as it stands in the file, shortened to one line; absent where there is none to show. */
  readonly value?: string;
  /** What is wrong and what is allowed. */
  readonly message: string;
}

const SHOWN_MAX = 50;

/** `sequencer.toml:14:8 ordering.mode = "riskaware": expected one of risk_aware, …` */
export function issueText({ file, line, column, key, value, message }: Issue): string {
  const place = line === 0 ? file : `${file}:${line}:${column}`;
  const subject = value === undefined ? key : `${key} = ${value}`;
  return subject === '' ? `${place}: ${message}` : `${place} ${subject}: ${message}`;
}

export class ConfigError extends Error {
  readonly code = 'config_invalid';
  readonly issues: readonly Issue[];

  /** @param issues  at least one */
  constructor(issues: readonly Issue[], options?: ErrorOptions) {
    const lines = issues.slice(0, SHOWN_MAX).map(issueText);
    if (issues.length > SHOWN_MAX) lines.push(`… and ${issues.length - SHOWN_MAX} more`);
    super(lines.join('\n'), options);
    this.name = 'ConfigError';
    this.issues = issues;
  }
}
