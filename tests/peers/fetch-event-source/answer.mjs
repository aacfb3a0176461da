// What the chat backend answers, delta by delta: words, a line break, quotes, several alphabets.
export const ANSWER = [
  'Nothing ', 'is ', 'held ', 'back:\n', '"every" ', 'event ', 'näher ', 'слово ', 'それぞれ ', '🚋🚋 ',
  'data: ', 'arrives.',
];

/** After these many deltas the model thinks for a while: the silence that heartbeats fill. */
export const GAPS_AFTER = [1, 7];
