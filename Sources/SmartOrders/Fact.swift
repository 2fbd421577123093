// What a version changed, in the words of the stream (INTERFACES.md 1.10, `facts[]`).

/// One thing that changed with a version of an order. History, stream and explain are made of these.
public enum Fact: Hashable, Sendable {
    case created
    case activated
    /// A command changed a field of the plan.
    case modified(path: String)
    case levelTriggered(Int)
    case levelFilled(Int)
    case levelRearmed(Int)
    case levelCancelled(Int)
    /// The level's share was too small and stayed with the levels after it (R1.4).
    case levelMerged(Int)
    case replanned
    case breakEvenArmed(Price)
    case breakEvenNotArmed(Price)
    case lockReached(step: Int, lock: Price)
    case trailingActivated(extreme: Price)
    case stopMoved(from: Price?, to: Price?, kind: StopKind?)
    case stopDelayed(since: Timestamp)
    case stopDelayReset
    case stopLatched(kind: StopKind, price: Price)
    case stopRetried(attempt: Int)
    case partialStopFired(Int)
    case partialStopDone(Int)
    case partialStopCancelled(Int)
    case backstopPlaced(Price)
    case backstopMoved(from: Price, to: Price)
    case backstopSkipped(BackstopNote)
    case backstopFired
    /// A leg that rested at the venue is gone; it is managed from now on.
    case nativeLegLost(Leg)
    case writtenOff(Quantity)
    case dust(Quantity)
    case fill(VenueOrderKey, Fill)
    case venueOrder(VenueOrderKey, VenueOrderState)
    /// A price too far from the reference waits for a second witness; it had one; it had none.
    case printSuspected(Price, reference: Price)
    case printConfirmed(Price)
    case printIgnored(Price)
    /// The venue changed what it takes in the market.
    case marketChanged(from: MarketTerms, to: MarketTerms)
    case fundsAdded(Quantity)
    case fundsReduced(Quantity)
    case statusChanged(from: OrderStatus, to: OrderStatus, reason: CloseReason?)
    /// A conditional order.
    case conditionalChanged(from: ConditionalStatus, to: ConditionalStatus, reason: ConditionalReason?)
    case phaseChanged(from: OrderPhase?, to: OrderPhase?)
    case healthChanged(from: OrderHealth, to: OrderHealth)
}
