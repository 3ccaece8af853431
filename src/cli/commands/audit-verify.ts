import { createPublicKey } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import { Command, InvalidArgumentError } from 'commander';
import { publicKeys } from '../../audit/signing.ts';
import { verifyExport } from '../../audit/verify-export.ts';
import { verifyStore } from '../../audit/verify-store.ts';
import { openAudit } from '../../composition/open-audit.ts';
import { loadConfig } from '../../config.ts';
import { AppError, errorMessage } from '../../errors.ts';
import { createLogger } from '../../logger.ts';
import { Releasers } from '../../releasers.ts';
import { withAction } from '../action.ts';
import type { Cli, Report } from '../action.ts';
import { createProgress } from '../progress.ts';
import { exportReport, storeReport } from './audit-verdicts.ts';

interface VerifyArguments {
  readonly root?: string;
  readonly publicKey: readonly string[];
}

const MANUAL = `
With a file: reads an export, without the service, its database or its configuration, and names the first event that was
changed, removed, added or moved. What proves that nothing was is the signature of a key that you trust (--public-key), or a
root that was kept elsewhere (--root: the root or the chain that 'audit export' printed). With neither, the file is only shown to
be consistent in itself.

Without a file: reads the whole event store and compares it with the hashes and seals that were kept of its events, and with
their signatures, those of AUDIT_SIGNING_KEY_FILE among them. Here --root is the chain after any of the events.

Exit code 1 means that something is wrong, or that what was given does not prove everything.`;

/** `asyncly audit verify` */
export function auditVerifyCommand(cli: Cli): Command {
  const command = new Command('verify')
    .description('prove that no event of an export, or of the event store, was changed')
    .argument('[file]', "what 'audit export' wrote; without it, the event store itself is read")
    .option('--root <hex>', 'a root that was kept elsewhere', parseRoot)
    .option('--public-key <file>', 'a public key to trust, PEM; may be given several times', collect, [])
    .addHelpText('after', MANUAL);
  return withAction<VerifyArguments>(command, cli, (options, [file]) =>
    typeof file === 'string' ? verifyFile(file, options, cli.signal) : verifyLive(options, cli.signal),
  );
}

async function verifyFile(file: string, options: VerifyArguments, signal: AbortSignal): Promise<Report> {
  const keys = publicKeys(await readKeys(options.publicKey));
  const progress = createProgress();
  try {
    const { size } = await readable(file, () => stat(file));
    const verdict = await readable(file, () =>
      verifyExport({
        file,
        keys,
        root: options.root ?? null,
        signal,
        onProgress: (events, offset) => progress.update('Verifying', events, offset / size),
      }),
    );
    progress.end();
    return exportReport(file, verdict);
  } finally {
    progress.end();
  }
}

async function verifyLive(options: VerifyArguments, signal: AbortSignal): Promise<Report> {
  const given = await readKeys(options.publicKey);
  const logger = createLogger('warn', 'stderr');
  const releasers = new Releasers(logger);
  const progress = createProgress();
  try {
    const { store, database, publicKey } = await openAudit(loadConfig(), logger, releasers);
    const verdict = await verifyStore({
      store,
      database,
      keys: publicKeys(publicKey ? [...given, publicKey] : given),
      root: options.root ?? null,
      signal,
      onProgress: (events, fraction) => progress.update('Verifying', events, fraction),
    });
    progress.end();
    return storeReport(verdict);
  } finally {
    progress.end();
    await releasers.releaseAll();
  }
}

class InputError extends AppError {
  constructor(file: string, reason: string) {
    super('INPUT', `Cannot read ${file}: ${reason}`, { file });
  }
}

async function readable<T>(file: string, read: () => Promise<T>): Promise<T> {
  return read().catch((error: unknown) => {
    const isOfFiles = error instanceof Error && 'syscall' in error;
    throw isOfFiles ? new InputError(file, errorMessage(error)) : error;
  });
}

async function readKeys(files: readonly string[]): Promise<KeyObject[]> {
  return Promise.all(
    files.map(async (file) => {
      const pem = await readable(file, () => readFile(file, 'utf8'));
      try {
        const key = createPublicKey(pem);
        if (key.asymmetricKeyType === 'ed25519') return key;
      } catch {
        // Told below.
      }
      throw new InputError(file, 'it holds no Ed25519 key in PEM form');
    }),
  );
}

function parseRoot(text: string): string {
  if (/^[0-9a-f]{64}$/i.test(text)) return text.toLowerCase();
  throw new InvalidArgumentError('A root has 64 hexadecimal digits.');
}

function collect(file: string, files: readonly string[]): string[] {
  return [...files, file];
}
