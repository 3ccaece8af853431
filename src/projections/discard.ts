import { dropVersion } from './drop-version.ts';
import type { Maintenance } from './maintenance.ts';
import { loadVersions } from './versions.ts';
import type { Version } from './versions.ts';

/** Drops every version of a read model, or of all, but the live one. There is no way back after it. */
export async function discard(m: Maintenance, projection?: string): Promise<Version[]> {
  const versions = await loadVersions(m.database, projection);
  for (const version of versions) await dropVersion(m.database, version);
  return versions;
}
