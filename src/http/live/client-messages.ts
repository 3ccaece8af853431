import { z } from 'zod';

const jobId = z.string({ error: 'must be a string' }).min(1, 'must not be empty').max(200, 'is too long');
const scope = z.literal('all', { error: 'must be "all"' });
const sinceRevision = z.int({ error: 'must be a whole number' }).min(-1, 'must be at least -1').optional();
const sinceCursor = z.string({ error: 'must be a string' }).max(100, 'is too long').optional();

const ping = z.object({ type: z.literal('ping') });
const subscribeJob = z.object({ type: z.literal('subscribe'), jobId, sinceRevision });
const subscribeAll = z.object({ type: z.literal('subscribe'), scope, sinceCursor });
const unsubscribeJob = z.object({ type: z.literal('unsubscribe'), jobId });
const unsubscribeAll = z.object({ type: z.literal('unsubscribe'), scope });

export type SubscribeJob = z.infer<typeof subscribeJob>;
export type SubscribeAll = z.infer<typeof subscribeAll>;
/** What a client may ask for. Fields beyond these are ignored. */
export type ClientMessage =
  | z.infer<typeof ping>
  | SubscribeJob
  | SubscribeAll
  | z.infer<typeof unsubscribeJob>
  | z.infer<typeof unsubscribeAll>;

/** What is wrong with a message, for its sender. */
export interface Malformed {
  readonly code: 'INVALID_JSON' | 'UNKNOWN_TYPE' | 'INVALID_MESSAGE';
  readonly message: string;
}

/** @param text the frame's text; null when it was binary */
export function parseClientMessage(text: string | null): ClientMessage | Malformed {
  if (text === null) return { code: 'INVALID_MESSAGE', message: 'Messages must be text' };
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return { code: 'INVALID_JSON', message: 'Message is not valid JSON' };
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    return { code: 'INVALID_MESSAGE', message: 'Message must be an object' };
  }
  const schema = schemaFor(value);
  if (schema === null) {
    return {
      code: 'UNKNOWN_TYPE',
      message: 'type must be "subscribe", "unsubscribe" or "ping"',
    };
  }
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const wrong = parsed.error.issues.map((issue) => `${issue.path.join('.')} ${issue.message}`);
  return { code: 'INVALID_MESSAGE', message: wrong.join('; ') };
}

export function isMalformed(message: ClientMessage | Malformed): message is Malformed {
  return 'code' in message;
}

function schemaFor(value: object): z.ZodType<ClientMessage> | null {
  const hasScope = 'scope' in value;
  switch ('type' in value ? value.type : undefined) {
    case 'ping':
      return ping;
    case 'subscribe':
      return hasScope ? subscribeAll : subscribeJob;
    case 'unsubscribe':
      return hasScope ? unsubscribeAll : unsubscribeJob;
    default:
      return null;
  }
}
