// Protocol errors that a run can be made to have, in the simulator's own seams: each must be found by the oracle, else
// the simulation tests nothing (RELIABILITY.md 8.6). Production code holds no switches.
internal import OrderEngine
internal import SmartOrders

/// One planted error, with its number in RELIABILITY.md 8.6 where it has one.
package enum Mutant: String, Hashable, Sendable, CaseIterable {
    // The store.
    /// MU1, canary: an order is written whatever its version.
    case noVersionCheck
    /// MU26: a fill counts as often as it is told.
    case fillCountsTwice
    /// MU24: no sweep.
    case noSweep
    /// MU7: one absent answer suffices.
    case oneAbsenceSuffices
    /// MU7: absence from before the fence counts.
    case fenceNotAwaited
    /// MU31: a commit of unknown outcome is taken as failed.
    case unknownCommitTakenAsFailed
    /// MU32: a commit of unknown outcome is taken as done.
    case unknownCommitTakenAsDone
    /// MU37: the halt is not read in the commit.
    case haltNotRead
    /// MU40: the idempotency key is not stored.
    case keyNotStored
    /// MU12: a look-up's news is stored without the fills it came with.
    case fillsDropped

    // The cluster.
    /// MU15: the cursor moves when a crossing is offered.
    case cursorMovesAtOffer
    /// MU16: shards of a lapsed worker are handed on without its cursors.
    case handoverForgotten
    /// Leases never lapse: shards of the dead stay with them.
    case leaseNeverLapses
    /// MU19: what the stream lost is not read from the extremes.
    case gapNotFilled
    /// MU20: the water mark starts anew at a take-over.
    case waterMarkRestarted
    /// Extremes are not stored.
    case extremesNotStored
    /// The change log misses a change.
    case changesMissed

    // The queue.
    /// MU23: a job is acknowledged when it is taken.
    case acknowledgedEarly
    /// Jobs of dead workers stay with them, and nothing offers them again.
    case stalledJobsForgotten
    /// MU46: follow-up work has the id of the first job.
    case followUpReusesID

    // The prices.
    /// MU18: conflation keeps the last price only.
    case latestPriceOnly
    /// MU49: without Redis only the last price of a window is read.
    case latestExtremeOnly

    // The venue's side.
    /// MU3: T0 is read after the commit, at the moment of the send.
    case lateT0
    /// MU4: the fence has no margin.
    case fenceWithoutMargin
    /// MU8: a failed look-up counts as absence.
    case failedLookUpIsAbsence
    /// MU9: the HTTP client repeats once.
    case clientRepeats
    /// MU10, MU11: no answer is taken as a refusal.
    case timeoutTakenAsRefused
    /// MU13: client order ids are random.
    case randomClientID
    /// MU13: the client order id forgets the attempt.
    case idWithoutAttempt
    /// MU12: a duplicate-id answer is taken as accepted.
    case duplicateTakenAsAccepted
    /// MU25: a cancel request frees the claim.
    case cancelTakenAsDone
    /// MU27: fills after a cancel are dropped.
    case fillAfterCancelDropped
    /// Exits are larger by a step.
    case exitOneStepTooLarge
    /// The stop is rounded one tick looser.
    case stopOneTickLooser
}

/// The planted errors of a run: at most one.
struct Flaws: Sendable {
    let mutant: Mutant?

    func contains(_ one: Mutant) -> Bool { mutant == one }
}

extension Flaws {
    /// How client order ids are made.
    func identity(_ world: World) -> VenueIdentity {
        let simulator = world.simulator
        if contains(.randomClientID) {
            return VenueIdentity { bytes in Oracle.digest(bytes + [UInt8(truncatingIfNeeded: simulator.random())]) }
        }
        if contains(.idWithoutAttempt) {
            return VenueIdentity { bytes in
                let text = String(decoding: bytes, as: UTF8.self)
                let short = text.split(separator: ":").dropLast().joined(separator: ":") + ":1"
                return Oracle.digest(Array(short.utf8))
            }
        }
        return VenueIdentity { Oracle.digest($0) }
    }

    /// What leaves in place of a placement.
    func change(_ placement: Placement) -> Placement { placement }
}
