// How commands read their arguments: each parser gives the value, or says what would be right.
import { InvalidArgumentError } from 'commander';
import { isDaemonUrl } from './url.ts';

export const oneOf =
  (...allowed: readonly string[]) =>
  (value: string): string => {
    if (!allowed.includes(value)) throw new InvalidArgumentError(`expected one of ${allowed.join(', ')}`);
    return value;
  };

export const daemonUrl = (value: string): string => {
  if (!isDaemonUrl(value)) throw new InvalidArgumentError('expected http://host:port');
  return value;
};

export const number = (from: number, to: number) => (value: string) => {
  const read = Number(value);
  if (value.trim() !== '' && read >= from && read <= to) return read;
  throw new InvalidArgumentError(`expected a number from ${from} to ${to}`);
};

export const integer = (from: number, to: number) => (value: string) => {
  const read = Number(value);
  if (Number.isInteger(read) && read >= from && read <= to) return read;
  throw new InvalidArgumentError(`expected an integer from ${from} to ${to}`);
};

export const cursor = integer(0, Number.MAX_SAFE_INTEGER);
