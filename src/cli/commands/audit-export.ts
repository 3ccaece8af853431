import { Command, InvalidArgumentError } from 'commander';
import { exportLines } from '../../audit/export-events.ts';
import type { Bound } from '../../audit/locate.ts';
import type { Manifest } from '../../audit/manifest.ts';
import { publicKeys } from '../../audit/signing.ts';
import { openAudit } from '../../composition/open-audit.ts';
import { loadConfig } from '../../config.ts';
import { createLogger } from '../../logger.ts';
import { Releasers } from '../../releasers.ts';
import { withAction } from '../action.ts';
import type { Cli, Report } from '../action.ts';
import { timeArgument } from '../arguments.ts';
import { writeOut, writeWhole } from '../output.ts';
import { createProgress } from '../progress.ts';
import { VERSION } from '../version.ts';

interface ExportArguments {
  readonly from?: Bound;
  readonly to?: Bound;
  readonly out?: string;
}

const MANUAL = `
Every line is an event as a CloudEvent 1.0 in JSON, and the last one a manifest: docs/audit-format.md. Events are compared
with their seals on the way; when they differ, nothing is exported. With AUDIT_SIGNING_KEY_FILE the manifest is signed.

<from> and <to> belong to the range. Each is an event's number, counted from 1 in the order of the store, or a time such as
2026-05-19T10:00:00Z or 2026-05-19 (its beginning, in UTC). Ranges that follow on one another are joined by their chain hashes.

Keep the root that is printed where nobody who can write to the database can: 'asyncly audit verify <file> --root <hex>'
then proves the file by it.`;

/** `asyncly audit export` */
export function auditExportCommand(cli: Cli): Command {
  const command = new Command('export')
    .description('write events as NDJSON that can be verified without the service')
    .option('--from <from>', 'begin with this event; default: the first', parseBound)
    .option('--to <to>', 'end with this event; default: the last', parseBound)
    .option('--out <file>', 'write to a file, which is there when it is complete; default: standard output')
    .addHelpText('after', MANUAL);
  return withAction<ExportArguments>(command, cli, (options) => exportEvents(options, cli.signal));
}

async function exportEvents({ from, to, out }: ExportArguments, signal: AbortSignal): Promise<Report> {
  const logger = createLogger('warn', 'stderr');
  const releasers = new Releasers(logger);
  const progress = createProgress();
  const began = performance.now();
  try {
    const { store, database, key, publicKey } = await openAudit(loadConfig(), logger, releasers);
    let manifest: Manifest | null = null;
    const lines = exportLines({
      store,
      database,
      from: from ?? null,
      to: to ?? null,
      key,
      keys: publicKeys(publicKey ? [publicKey] : []),
      software: `asyncly ${VERSION}`,
      now: new Date().toISOString(),
      signal,
      onProgress: (events, fraction) => progress.update('Exporting', events, fraction),
    });
    const texts = (async function* () {
      manifest = yield* lines;
    })();
    await (out === undefined ? writeOut(texts) : writeWhole(out, texts));
    progress.end();
    return report(manifest, out, Math.round(performance.now() - began) / 1_000);
  } finally {
    progress.end();
    await releasers.releaseAll();
  }
}

function report(manifest: Manifest | null, out: string | undefined, seconds: number): Report {
  if (!manifest) throw new Error('An export ends with a manifest');
  const { first, last, count, chainBefore, chainAfter, root, keyId } = manifest;
  const range = count > 0 ? `${count} events, number ${first} to ${last}` : 'no events';
  return {
    data: { file: out ?? null, first, last, events: count, chainBefore, chainAfter, root, keyId, seconds },
    text: [
      `Exported ${range}.`,
      `Root ${root}`,
      `Chain ${chainAfter}`,
      keyId === null ? 'Not signed: AUDIT_SIGNING_KEY_FILE is not set.' : `Signed with key ${keyId}`,
    ].join('\n'),
    aside: out === undefined,
  };
}

function parseBound(text: string): Bound {
  if (!/^\d+$/.test(text)) return new Date(timeArgument(text));
  const number = Number(text);
  if (number >= 1 && Number.isSafeInteger(number)) return number;
  throw new InvalidArgumentError('Events are counted from 1.');
}
