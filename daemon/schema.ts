// The version of what the store holds, and how an older store becomes this one. A change of a record's meaning is a new version
// with a migration here; a store from a newer version is refused, and one from before the first that counts.
import { countPlaces } from './assetplaces.ts';
import type { Migration } from './store.ts';

export const SCHEMA_VERSION = 3;

/** Stores of version 1 were made while Aegis was being built; their census is of another kind. */
export const MIGRATIONS: readonly Migration[] = [
  // How many assets are kept in each state is counted as they come, and was not before.
  { from: 2, to: 3, migrate: countPlaces },
];
