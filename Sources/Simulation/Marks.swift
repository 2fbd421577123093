// Rare branches that a full set of seeds has to meet at least once: a set that never met one did not test it
// (RELIABILITY.md 8.5).

package enum Mark: String, Hashable, Sendable, CaseIterable {
    case killed
    case paused
    case blackout
    case stoppedInOrder = "stopped in order"
    case feedGap = "feed gap"
    case tickFromBeforeFill = "tick from before a fill would have fired"
    case answerOfDatabaseLost = "answer of the database lost"
    case commitUnknownResolvedAsCommitted = "commit unknown resolved as committed"
    case commitUnknownResolvedAsNot = "commit unknown resolved as not committed"
    case orderVersionLost = "compare-and-set lost on order"
    case intentTokenLost = "compare-and-set lost on intent"
    case venueRefusedLateRequest = "venue refused late request"
    case venueGaveNoAnswer = "venue gave no answer"
    case lookUpMissedOnce = "look-up missed once"
    case reconcileFound = "reconcile found"
    case reconcileAbsent = "reconcile absent"
    case claimFreedByProof = "claim freed by proof"
    case raceFillWhileStopping = "race fill while stopping"
    case obsoleteJob = "obsolete job"
    case knownJobOffered = "known job offered"
    case jobReclaimed = "job reclaimed"
    case sweepReoffered = "sweep re-offered"
    case redisLost = "redisLoss"
    case redisOffEntered = "Redis-off entered"
    case queueReopened = "queue opened again"
    case takeoverWithOpenOrders = "takeover with cursors"
    case staleEpochRefused = "stale epoch write refused"
    case leaseLapsed = "lease lapsed"
    case gapReadFromExtremes = "gap read from extremes"
    case commandReplayed = "command replayed"
}
