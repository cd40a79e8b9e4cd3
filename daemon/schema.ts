// The version of what the store holds, and how an older store becomes this one. A change of a record's meaning is a new version
// with a migration here; a store from a newer version is refused.
import type { Migration } from './store.ts';

export const SCHEMA_VERSION = 1;

export const MIGRATIONS: readonly Migration[] = [];
