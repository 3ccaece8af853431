import { startAsyncly } from './asyncly.ts';
import type { Subject } from './subject.ts';

/** The service's api over an event store that stores nothing. */
export const appendsNothing: Subject = {
  name: 'appends nothing',
  start: (environment) =>
    startAsyncly(environment, { main: 'bench/peers/nothing-api.js', processes: ['api'], isUp: '/healthz' }),
};

/** An endpoint behind the same authentication that reads nothing. */
export const answersConstantly: Subject = {
  name: 'answers constantly',
  start: (environment) =>
    startAsyncly(environment, { main: 'bench/peers/constant-api.js', processes: ['api'] }),
};
