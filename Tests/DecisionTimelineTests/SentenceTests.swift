import DecisionTimeline
import SmartOrders
import Testing

/// One sentence per fact: the template set as a table.
@Suite struct Sentence {
    struct Row: Sendable {
        let fact: Fact
        let text: String?
        init(_ fact: Fact, _ text: String?) {
            self.fact = fact
            self.text = text
        }
    }

    private static let fill = Fill(
        venueFillID: "f",
        quantity: quantity("2.5"),
        price: price("104.9"),
        isMaker: true,
        time: Timestamp(microseconds: 0),
    )
    private static func terms(_ tickSize: String, _ stepSize: String) -> MarketTerms {
        MarketTerms(
            tickSize: price(tickSize),
            stepSize: quantity(stepSize),
            minQuantity: .zero,
            minNotional: .zero,
            bandRule: nil,
        )
    }
    private static func sent(_ state: VenueOrderState) -> Fact {
        .venueOrder(VenueOrderKey(leg: .close, attempt: 2), state)
    }

    @Test(arguments: [
        Row(.created, "The order was created: long 10, entry attach, 2 targets, stop 95.00."),
        Row(.activated, "The order is active: 10 held (average 100)."),
        Row(.modified(path: "exitAt"), "exitAt was changed."),
        Row(.levelTriggered(1), "Mark 105.00 was at or above target 1 at 105.00."),
        Row(.levelTriggered(2), "Target 2 leaves at market by command."),
        Row(.levelFilled(1), "Target 1 is filled: 0 of 5."),
        Row(.levelRearmed(2), "Target 2 waits again: its order ended before it was filled."),
        Row(.levelCancelled(2), "Target 2 is over."),
        Row(.levelMerged(1), "Target 1's share is too small to trade and went to the targets after it."),
        Row(.replanned, "The targets now plan 1: 5, 2: 5."),
        Row(.breakEvenArmed(price("100")), "Break-even was armed at 100.00 (average 100)."),
        Row(.breakEvenNotArmed(price("100")), "Break-even was not armed: the price is already beyond 100.00."),
        Row(.lockReached(step: 2, lock: price("103")), "Step 2 was reached: the stop locks 103.00."),
        Row(
            .trailingActivated(extreme: price("105")),
            "Mark 105.00 reached the activation price: the trailing stop follows from 105.",
        ),
        Row(
            .stopMoved(from: price("95"), to: price("100"), kind: .breakEven),
            "The stop moved from 95.00 to 100.00 (break-even stop).",
        ),
        Row(.stopMoved(from: nil, to: price("100"), kind: .lock), "The stop now stands at 100.00 (step lock)."),
        Row(.stopMoved(from: price("95"), to: nil, kind: nil), "The stop at 95.00 was removed."),
        Row(.stopDelayReset, "The price came back before the stop's timeout had passed."),
        Row(.stopRetried(attempt: 3), "The exit is tried again, attempt 3."),
        Row(.partialStopDone(1), "Partial stop 1 is done."),
        Row(.partialStopCancelled(1), "Partial stop 1 is over."),
        Row(.writtenOff(quantity("3")), "3 left the position elsewhere and is written off."),
        Row(.dust(quantity("0.05")), "0.05 is less than one step and stays as dust."),
        Row(
            .fill(VenueOrderKey(leg: .takeProfit(1), attempt: 1), fill),
            "The target 1 order sold 2.5 at 104.9 (maker).",
        ),
        Row(
            .printSuspected(price("1"), reference: price("100.5")),
            "Mark 1.00 is too far from 100.5: it counts when the next price, or another source, says the same within a "
                + "second.",
        ),
        Row(.printConfirmed(price("1")), "Mark 1.00 was confirmed and counts."),
        Row(.printIgnored(price("1")), "Mark 1.00 was ignored as a false print."),
        Row(
            .marketChanged(from: terms("0.01", "0.1"), to: terms("0.5", "0.1")),
            "The venue changed the market: the tick size is 0.5, it was 0.01. What waits stays where it is.",
        ),
        Row(
            .marketChanged(from: terms("0.01", "0.1"), to: terms("0.01", "1")),
            "The venue changed the market: the step is 1, it was 0.1. What waits stays where it is.",
        ),
        Row(.fundsAdded(quantity("1")), "1 was added to the position."),
        Row(.fundsReduced(quantity("1")), "The position was reduced by 1."),
        Row(
            .statusChanged(from: .active, to: .stopped, reason: .breakEven),
            "The order is now STOPPED: the break-even stop.",
        ),
        Row(.healthChanged(from: .ok, to: .retrying), "The order's health is RETRYING."),
        Row(.healthChanged(from: .unknown, to: .ok), "All is well again."),
        Row(.phaseChanged(from: .monitoring, to: .stopping), nil),
        Row(sent(.submitted), "The close order, attempt 2, was sent."),
        Row(sent(.open), "The close order, attempt 2, was taken by the venue."),
        Row(sent(.unknown), "The close order, attempt 2, has no answer yet: it is looked up, never repeated blindly."),
        Row(sent(.rejected), "The close order, attempt 2, was refused by the venue."),
        Row(sent(.notSent), "The close order, attempt 2, was not sent."),
        Row(sent(.absent), "The close order, attempt 2, is proven never to have reached the venue."),
        Row(sent(.expired), "The close order, attempt 2, expired without filling all."),
    ])
    func `says what happened`(_ row: Row) throws {
        let draft = Draft.held {
            $0.stopLoss = StopLossPlan(price: price("95"))
            $0.takeProfits = ["105", "110"].map {
                TakeProfitPlan(target: .price(price($0)), sizePercent: ExactDecimal("50"))
            }
        }
        let order = try Life(draft, at: price("100")).order
        let scene = Scene(before: order, after: order, price: price("105"), source: .mark)
        #expect(Sentences.sentence(row.fact, scene) == row.text)
    }
}
