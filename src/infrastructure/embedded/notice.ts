import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import pg from 'pg';
import { z } from 'zod';

import { readOwnFile } from '../../own-file.ts';
import { errorCode, storageError, writePrivateFile } from './private-files.ts';

/** `postgres.json`: where other processes find the server. */
const noticeShape = z.object({
  url: z.string(),
  port: z.int(),
  /** Of the owner. */ pid: z.int(),
  serverPid: z.int(),
});

function noticePath(dataDir: string): string {
  return join(dataDir, 'postgres.json');
}

/** Tells other processes of the server. The file holds the password, so only this user may read it. */
export async function writeNotice(dataDir: string, notice: z.infer<typeof noticeShape>): Promise<void> {
  await writePrivateFile(noticePath(dataDir), `${JSON.stringify(notice, null, 2)}\n`);
}

export async function removeNotice(dataDir: string): Promise<void> {
  await rm(noticePath(dataDir), { force: true });
}

/** The URL in `postgres.json`, if the present owner wrote it and the server there answers. */
export async function answeringServer(
  dataDir: string,
  ownerPid: number | undefined,
): Promise<string | undefined> {
  const path = noticePath(dataDir);
  const text = read(path);
  if (text === undefined) return undefined;
  const { url, pid } = noticeShape.parse(JSON.parse(text));
  if (ownerPid !== undefined && pid !== ownerPid) return undefined;
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 5_000 });
  client.on('error', () => undefined);
  try {
    await client.connect();
    return url;
  } catch {
    return undefined;
  } finally {
    await client.end().catch(() => undefined);
  }
}

function read(path: string): string | undefined {
  try {
    return readOwnFile(path);
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return undefined;
    throw storageError(error, path);
  }
}
