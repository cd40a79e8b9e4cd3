// The log: one JSON object a line on standard error, so that standard output stays for what was asked for. Secrets don't get
// here in the first place; redaction is the second line for what a mistake might hand over.
import { type Logger, pino, stdSerializers } from 'pino';
import { Fault } from './fault.ts';

const REDACTED = [
  'authorization',
  'cookie',
  'token',
  'encrypted_data',
  'raw',
  'seed',
  'key',
  'secret',
  'private_key',
  'material',
];

export function createLogger(level: string, fd = 2): Logger {
  return pino(
    {
      level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      redact: { paths: REDACTED.flatMap((name) => [name, `*.${name}`, `*.*.${name}`]), censor: '[redacted]' },
      serializers: { err: serializeError },
    },
    pino.destination({ fd, sync: true }),
  );
}

/** A fault's details are made for operators; of other errors only what Node itself says. */
function serializeError(error: unknown) {
  if (error instanceof Fault) return { type: error.name, message: error.message, ...error.detail };
  return error instanceof Error ? stdSerializers.err(error) : { message: String(error) };
}
