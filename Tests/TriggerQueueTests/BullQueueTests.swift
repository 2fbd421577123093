import Testing

/// All that runs on a real Redis: one after the other, because leases and delays are real time.
@Suite(.serialized) enum BullQueueTests {}
