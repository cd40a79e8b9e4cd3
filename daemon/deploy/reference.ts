// A container image by what it is and not by a name that may point elsewhere tomorrow: `aegisd deploy` takes no other.
// OCI distribution spec §"Pulling manifests"; the grammar is that of distribution/reference.

const PINNED =
  /^(?:[a-z0-9](?:[a-z0-9.-]{0,250}[a-z0-9])?(?::\d{1,5})?\/)?[a-z0-9]+(?:[._-]+[a-z0-9]+)*(?:\/[a-z0-9]+(?:[._-]+[a-z0-9]+)*){0,8}(?::\w[\w.-]{0,127})?@sha256:[0-9a-f]{64}$/;
const REFERENCE_CHARACTERS_MAX = 512;

export const isPinned = (image: string): boolean => image.length <= REFERENCE_CHARACTERS_MAX && PINNED.test(image);
