// A scenario as the cluster plays it: its market, its order, and whether it can be played side by side with others.
import JSONText
import OrderEngine
import OrderJSON
import PaperVenue
import Replay
import SmartOrders

struct ClusterPlan: Sendable {
    let scenario: Scenario
    let number: Int
    let request: ScenarioRequest
    let events: [ScenarioEvent]
    let faults: [ScenarioFault]
    let market: PaperMarket
    let asksObjects: Bool

    /// Why a scenario is not played on a cluster; nil: it is.
    static func obstacle(_ scenario: Scenario) throws -> String? {
        switch scenario.kind {
        case .smart, .conditional: return nil
        case .validation: return "validation is run in the core alone"
        case .calc: return "pure functions have no cluster"
        }
    }

    /// - Parameter number: 1-based, unique in a run.
    init(_ scenario: Scenario, number: Int) throws {
        self.scenario = scenario
        self.number = number
        let body = scenario.body
        let fees = try ScenarioFees(json: body.optional("fees"))
        let instrument = try InstrumentBlock(
            json: body.required("instrument", expected: "an instrument"),
            fees: (fees.maker, fees.taker),
        ).instrument
        request = try ScenarioRequest(json: body.required("request", expected: "a request"))
        events = try ScenarioEvent.timeline(body)
        faults = try ScenarioFault.list(body)
        asksObjects = try ScenarioRecord.listsObjects(scenario.expect)
        market = PaperMarket(
            product: instrument.kind.isDerivative ? .linear : .spot,
            symbol: "S\(number)",
            base: "C\(number)",
            quote: "USDT",
            tickSize: instrument.tickSize,
            stepSize: instrument.stepSize,
            minQuantity: instrument.minQuantity,
            minNotional: instrument.minNotional,
            makerFee: fees.maker,
            takerFee: fees.taker,
            liquidity: .tick,
        )
    }

    var series: PriceSeries {
        let source = request.draft.triggerSource ?? (market.product == .linear ? .mark : .last)
        return PriceSeries(market: market.id, source: source)
    }

    var decimals: Int { max(Int(market.tickSize.value.scale), 8) }

    /// Whether what happens depends on the clock: such a scenario is played alone, because the clock is one for all.
    var isTimed: Bool {
        let draft = request.draft
        if !faults.isEmpty || draft.exitAt != nil { return true }
        if draft.stopLoss?.timeoutMs != nil || draft.stopLoss?.fallbackMs != nil { return true }
        return events.contains { event in
            switch event.what {
            case .timer, .venue: true
            case .price, .entryFill, .entryEnd, .position, .restart, .duplicateTrigger, .command: false
            }
        }
    }
}
