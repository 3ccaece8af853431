/** Never succeeds. */
export default {
  type: 'failing',
  run() {
    throw new Error('The other side is down');
  },
};
