/** Fails as often as the payload says, then succeeds. */
export default {
  type: 'flaky',
  run({ failures }, { attempt, log }) {
    log(`Attempt ${attempt}`);
    if (attempt <= failures) throw new Error(`Failure ${attempt} of ${failures}`);
    return Promise.resolve({ attempts: attempt });
  },
};
