/** Done at once. */
export default {
  type: 'instant',
  run({ n }) {
    return Promise.resolve({ n });
  },
};
