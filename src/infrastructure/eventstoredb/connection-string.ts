import { StartupError } from '../../errors.ts';
import type { Logger } from '../../logger.ts';

/** What the client knows, without `nodePreference`, `throwOnAppendFailure` and `tlsVerifyCert`: see below. */
const OPTIONS = new Set([
  'tls',
  'tlscafile',
  'usercertfile',
  'userkeyfile',
  'connectionname',
  'maxdiscoverattempts',
  'discoveryinterval',
  'gossiptimeout',
  'defaultdeadline',
  'keepaliveinterval',
  'keepalivetimeout',
]);

/** The client's own, in milliseconds. */
const KEEP_ALIVE_INTERVAL = 10_000;

/** Why an option is left out although the client would take it. */
const REFUSED = new Map([
  ['nodepreference', 'every read and append goes to the leader, so that what was written is seen'],
  ['throwonappendfailure', 'a refused append has to be told from one that was made'],
  ['tlsverifycert', 'the client cannot switch the check off: name the authority in tlsCAFile'],
]);

/**
 * A connection string as `@eventstore/db-client` takes it. KurrentDB's schemes become EventStoreDB's, which the client
 * knows; credentials may hold any character, a colon too. Options that the client would reject are taken out here, because it
 * prints the whole string, password included, when it meets one.
 * @param url `esdb://`, `kurrentdb://`, … with or without `+discover`
 * @param later milliseconds by which keepalives come later than the url, or the client, says
 * @throws StartupError without a word of the url
 */
export function toConnectionString(url: string, logger: Logger, later = 0): string {
  const match = /^(?:esdb|kurrentdb|kurrent|kdb)(\+discover)?:\/\/([^?]*)(?:\?(.*))?$/i.exec(url.trim());
  if (!match) {
    throw new StartupError('EVENTSTORE_URL must start with esdb://, esdb+discover:// or kurrentdb://');
  }
  const [, discover = '', authority = '', query = ''] = match;
  const at = authority.lastIndexOf('@');
  const hosts = authority.slice(at + 1).replace(/\/+$/, '');
  const given = query.split('&').filter((option) => option !== '' && isOption(option, logger));
  const options = (later > 0 ? withLaterKeepAlives(given, later) : given).join('&');
  const named = /(^|&)connection-?_?name=/i.test(options)
    ? options
    : `${options}${options && '&'}connectionName=asyncly`;
  return `esdb${discover.toLowerCase()}://${at < 0 ? '' : credentials(authority.slice(0, at))}${hosts}?${named}`;
}

/** A negative interval, which switches them off, is left as it is. */
function withLaterKeepAlives(options: readonly string[], later: number): string[] {
  const isInterval = (option: string): boolean => /^keep[_-]?alive[_-]?interval=/i.test(option);
  const given = Number(options.find(isInterval)?.split('=')[1] ?? KEEP_ALIVE_INTERVAL);
  const interval = given < 0 ? given : given + later;
  return [...options.filter((option) => !isInterval(option)), `keepAliveInterval=${interval}`];
}

/** The client cuts a password at its second colon. */
function credentials(given: string): string {
  const [user = '', ...password] = given.split(':');
  if (user === '' || password.length === 0) {
    throw new StartupError('EVENTSTORE_URL names a user without a password, or the other way round');
  }
  return `${encoded(user)}:${encoded(password.join(':'))}@`;
}

function encoded(text: string): string {
  try {
    return encodeURIComponent(decodeURIComponent(text));
  } catch {
    return encodeURIComponent(text);
  }
}

function isOption(option: string, logger: Logger): boolean {
  const [name = '', value = ''] = option.split('=');
  const flat = name.toLowerCase().replace(/[_-]/g, '');
  if (OPTIONS.has(flat) && value !== '') return true;
  const reason = REFUSED.get(flat) ?? (value === '' ? 'it has no value' : 'it is not known');
  logger.warn({ option: name, reason }, 'An option of EVENTSTORE_URL has no effect');
  return false;
}
