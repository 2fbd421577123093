// The matching engine and the books of the paper venue: one synchronous object, owned by one thread.
//
// Every change goes through three primitives, `admit`, `execute` and `finish` (VenueEngine+Primitives.swift). They are
// what the log records and what a restart replays, so a rebuilt venue has the balances, positions and open orders of
// the one that ended. Nothing here reads a clock, a random number or a file: time comes in, lines and events go out.
// Cost: place and cancel O(log n); a tick O((touched + 1) log n).

internal import PaperMatching
internal import SmartOrders

/// A market at work.
final class MarketState {
    let index: Int
    var market: PaperMarket
    let base: Int
    let quote: Int
    var book = MatchingBook()
    var last: Price?
    var mark: Price?
    var indexPrice: Price?
    var bid: (price: Price, quantity: Quantity)?
    var ask: (price: Price, quantity: Quantity)?
    /// The tick that set the book's price, and whether the log has it.
    var tick: PaperTick?
    var isTickLogged = true
    var tickLoggedAt: Int64 = 0
    var volume = Quantity.zero
    /// Conditional orders that wait for a price, in order of acceptance.
    var sleepingAlgos: [Int] = []
    /// Spot stops that wait for a price, in order of acceptance.
    var sleepingStops: [Int] = []
    /// `paper:<product>:<symbol>`.
    let id: String

    init(index: Int, market: PaperMarket, base: Int, quote: Int) {
        self.index = index
        self.market = market
        self.base = base
        self.quote = quote
        id = market.id.description
    }

    var isSpot: Bool {
        switch market.product {
        case .spot: true
        case .linear: false
        }
    }

    /// What positions are valued at and linear bands refer to.
    var referencePrice: Price? { isSpot ? last ?? mark : mark ?? last }
}

final class VenueEngine {
    /// What happened to an order, in the words of the user stream.
    enum Execution {
        case new
        case trade
        /// With the client id of the cancel itself, where it had one.
        case cancelled(by: String?)
        case expired
    }

    let configuration: PaperVenueConfiguration
    /// Replaced once, when the replay is through.
    var log: VenueLog
    private(set) var assets: [String] = []
    private var assetIndex: [String: Int] = [:]
    private(set) var markets: [MarketState] = []
    private var marketIndex: [PaperProduct: [String: Int]] = [:]
    var accounts: [Account] = []
    var accountIndex: [String: Int] = [:]
    var orders: [OrderRecord] = []
    var trades: [TradeRecord] = []
    var algos: [AlgoRecord] = []
    var lists: [OrderListRecord] = []
    /// Where order and trade ids start: `id = base + index`.
    let idBase = 1
    /// Venue time of the work at hand, microseconds.
    var now: Int64 = 0
    /// Told of each change, in order. Not called while the log is replayed.
    var onExecution: ((OrderRecord, Execution, TradeRecord?) -> Void)?
    /// Told of each change of a conditional order.
    var onAlgo: ((AlgoRecord) -> Void)?
    /// Told of each tick as it arrives.
    var ticksTaken: ((PaperTick) -> Void)?
    /// Told of each tick after it was matched.
    var onTick: ((MarketState, PaperTick) -> Void)?
    /// The rule can be switched while the venue runs.
    var clientIDs: PaperVenueConfiguration.ClientIDRule

    init(configuration: PaperVenueConfiguration, log: VenueLog) {
        self.configuration = configuration
        self.log = log
        clientIDs = configuration.clientIDs
        for market in configuration.markets { addMarket(market) }
    }

    private func addMarket(_ market: PaperMarket) {
        let state = MarketState(
            index: markets.count,
            market: market,
            base: asset(market.base),
            quote: asset(market.quote),
        )
        marketIndex[market.product, default: [:]][market.symbol] = state.index
        markets.append(state)
    }

    func asset(_ name: String) -> Int {
        if let index = assetIndex[name] { return index }
        assets.append(name)
        assetIndex[name] = assets.count - 1
        return assets.count - 1
    }

    func market(_ product: PaperProduct, _ symbol: String) -> MarketState? {
        marketIndex[product]?[symbol].map { markets[$0] }
    }

    func order(_ id: Int) -> OrderRecord? {
        let index = id - idBase
        return orders.indices.contains(index) ? orders[index] : nil
    }

    func trade(_ id: Int) -> TradeRecord { trades[id - idBase] }

    /// The account of an API key; made, with the configured balances, when it is new.
    func account(_ key: String) -> Account {
        if let index = accountIndex[key] { return accounts[index] }
        let account = openAccount(key, hasTwoSides: configuration.hedgeMode)
        writeAccount(account)
        for (name, amount) in configuration.spotBalances.sorted(by: { $0.key < $1.key }) {
            adjust(account, .spot, asset(name), by: amount)
        }
        for (name, amount) in configuration.linearBalances.sorted(by: { $0.key < $1.key }) {
            adjust(account, .linear, asset(name), by: amount)
        }
        return account
    }

    // MARK: Orders

    /// Checks an order as `place` does. Returns it with its size in base, the quantity for the book, and what it sets
    /// aside.
    @discardableResult
    func check(
        _ wanted: OrderTicket
    ) throws(VenueRefusal) -> (ticket: OrderTicket, bookQuantity: Quantity, reserved: ExactDecimal) {
        let market = markets[wanted.market]
        let account = accounts[wanted.account]
        var ticket = wanted
        if let quote = ticket.quoteQuantity { ticket.quantity = quantity(spending: quote, in: market) }
        try checkFilters(ticket, market)
        try checkClientID(ticket, account)
        let bookQuantity = try checkReducing(ticket, market, account)
        if let stop = ticket.stop { try checkStop(ticket, stop, market) }
        let isPostOnly = ticket.type == .limitMaker || ticket.timeInForce == .postOnly
        if isPostOnly, let fill = market.book.fillPrice {
            let wouldTake = ticket.side == .buy ? fill <= ticket.price : fill >= ticket.price
            if wouldTake { throw market.isSpot ? .wouldTakeSpot : .wouldTakeLinear }
        }
        return (ticket, bookQuantity, try reservation(ticket, market, account))
    }

    /// Checks, accepts and matches an order; returns its id.
    func place(_ wanted: OrderTicket) throws(VenueRefusal) -> Int {
        if let known = repeated(wanted) { return known }
        let (ticket, bookQuantity, reserved) = try check(wanted)
        let market = markets[ticket.market]
        let id = admit(ticket, reserved: reserved)
        writeAccept(orders[id - idBase])
        announce(id, .new)
        if ticket.stop == nil { submit(id, bookQuantity, market) }
        return id
    }

    /// Puts an accepted order on the book, with what follows.
    func submit(_ id: Int, _ bookQuantity: Quantity, _ market: MarketState) {
        let ticket = orders[id - idBase]
        let submission = market.book.submit(
            BookOrder(key: id, side: ticket.side, kind: orders[id - idBase].bookKind, quantity: bookQuantity)
        )
        if let match = submission.match { fill(match, market) }
        preventSelfTrade(id, market)
        settleSubmission(id, submission.outcome)
        endSiblings(of: id)
    }

    private func settleSubmission(_ id: Int, _ outcome: Submission.Outcome) {
        guard orders[id - idBase].status.isOpen else { return }
        switch outcome {
        case .resting: break
        case .filled, .partiallyExpired, .expired: end(id, .expired)
        }
    }

    /// Two own orders meet when the newer one has taken all that the market had and would go on at the older one's
    /// price.
    private func preventSelfTrade(_ id: Int, _ market: MarketState) {
        let taker = orders[id - idBase]
        guard taker.status.isOpen, taker.selfTrade != .none, market.book.liquidity?.isZero == true else { return }
        let account = accounts[taker.account]
        let met = account.open.sorted().filter { other in
            let maker = orders[other - idBase]
            guard maker.market == taker.market, maker.side != taker.side, maker.id != id else { return false }
            switch taker.type {
            case .market: return true
            case .limit, .limitMaker, .stopLossLimit:
                return taker.side == .buy ? maker.price <= taker.price : maker.price >= taker.price
            }
        }
        guard !met.isEmpty else { return }
        switch taker.selfTrade {
        case .none: break
        case .expireMaker: for maker in met { end(maker, .expiredInMatch) }
        case .expireTaker: end(id, .expiredInMatch)
        case .expireBoth:
            for maker in met { end(maker, .expiredInMatch) }
            end(id, .expiredInMatch)
        }
    }

    /// Cancels an open order of this account.
    func cancel(_ id: Int, by cancelID: String? = nil) throws(VenueRefusal) {
        guard let order = order(id), order.status.isOpen else { throw .unknownOrderCancel }
        end(id, .cancelled, by: cancelID)
        // A list ends whole.
        for sibling in siblings(of: id) where orders[sibling - idBase].status.isOpen { end(sibling, .cancelled) }
    }

    /// The venue ends an open order by itself.
    func expire(_ id: Int) throws(VenueRefusal) {
        guard let order = order(id), order.status.isOpen else { throw .unknownOrderCancel }
        end(id, .expired)
    }

    /// Somebody trades with a resting order, up to what is left of it, whatever the market shows.
    func fill(_ id: Int, _ quantity: Quantity, at price: Price) throws(VenueRefusal) {
        guard let order = order(id), order.status.isOpen else { throw .unknownOrderCancel }
        let state = markets[order.market]
        guard let resting = state.book.resting(id),
            let match = state.book.fill(id, quantity: min(quantity, resting.unfilled), price: price)
        else { throw .unknownOrderCancel }
        fill(match, state)
    }

    /// Ends an open order; the book forgets it.
    func end(_ id: Int, _ status: OrderStatus, by cancelID: String? = nil) {
        let index = id - idBase
        _ = markets[orders[index].market].book.cancel(id)
        finish(id, status)
        writeEnd(orders[index])
        announce(id, status == .cancelled ? .cancelled(by: cancelID) : .expired)
    }

    /// The order a client means by its own id or the venue's.
    func find(_ account: Account, _ market: MarketState, id: Int?, clientID: String?) -> OrderRecord? {
        if let id {
            guard let order = order(id), order.account == account.index, order.market == market.index else {
                return nil
            }
            return order
        }
        guard let clientID else { return nil }
        return account.latest[ClientOrderKey(market: market.index, clientID: clientID)].flatMap { order($0) }
    }

    // MARK: Prices

    /// A price from outside: takers trade at the last price. A market that was never told a last price trades at mark.
    func tick(_ tick: PaperTick) {
        guard let product = PaperProduct(rawValue: tick.market.product),
            let state = market(product, tick.market.symbol)
        else { return }
        ticksTaken?(tick)
        guard tick.price.isPositive else {
            // A nonsense price is passed on, for feeds to prove themselves, but nothing trades at it.
            onTick?(state, tick)
            return
        }
        switch tick.source {
        case .last:
            state.last = tick.price
            if let quantity = tick.quantity { state.volume += quantity }
            match(state, tick)
            wakeStops(state)
            wakeAlgos(state)
        case .mark:
            state.mark = tick.price
            if state.last == nil { match(state, tick) }
            wakeAlgos(state)
        case .index: state.indexPrice = tick.price
        case .bid: state.bid = (tick.price, tick.quantity ?? .zero)
        case .ask: state.ask = (tick.price, tick.quantity ?? .zero)
        }
        onTick?(state, tick)
    }

    private func match(_ state: MarketState, _ tick: PaperTick) {
        let liquidity: Quantity?
        switch state.market.liquidity {
        case .unlimited: liquidity = nil
        case .tick: liquidity = tick.quantity
        case .fixed(let quantity): liquidity = quantity
        }
        state.tick = tick
        state.isTickLogged = false
        var shrunk: Set<PositionOwner> = []
        var spent: [Int] = []
        var ofLists: [Int] = []
        state.book.price(fill: tick.price, liquidity: liquidity) { resting, available in
            let id = resting.order.key
            let order = orders[id - idBase]
            var quantity = available
            if order.onlyReduces {
                let account = accounts[order.account]
                quantity = min(quantity, account.reducible(order.market, order.positionSide, by: order.side))
                guard quantity.isPositive else {
                    shrunk.insert(PositionOwner(order))
                    return .zero
                }
            }
            fillOne(
                Match(key: id, side: order.side, quantity: quantity, price: resting.limit, isMaker: true),
                state,
            )
            if !state.isSpot { shrunk.insert(PositionOwner(order)) }
            if quantity == resting.unfilled { spent.append(id) }
            if order.list != nil { ofLists.append(id) }
            return quantity
        }
        // The book held a reduce-only order cut to its position: what it was cut by cannot fill any more.
        for id in spent where orders[id - idBase].status.isOpen { end(id, .expired) }
        for id in ofLists { endSiblings(of: id) }
        for owner in shrunk.sorted() { endReducing(owner) }
        // So that a restart knows a price even if nothing trades.
        if !state.isTickLogged, now - state.tickLoggedAt >= 1_000_000 { logTick(state) }
    }

    private func fill(_ match: Match, _ state: MarketState) {
        fillOne(match, state)
        if !state.isSpot { endReducing(PositionOwner(orders[match.key - idBase])) }
    }

    private func fillOne(_ match: Match, _ state: MarketState) {
        if !state.isTickLogged { logTick(state) }
        let trade = execute(match, feeOf(match, state))
        writeFill(trade)
        let order = orders[match.key - idBase]
        if order.filled == order.quantity { finish(order.id, .filled) }
        announce(order.id, .trade, trade)
        if order.filled == order.quantity { writeEnd(orders[match.key - idBase]) }
    }

    private func logTick(_ state: MarketState) {
        state.isTickLogged = true
        state.tickLoggedAt = now
        if let tick = state.tick { writeTick(tick) }
    }

    private func feeOf(_ match: Match, _ state: MarketState) -> (amount: ExactDecimal, asset: Int) {
        let schedule = FeeSchedule(maker: state.market.makerFee, taker: state.market.takerFee)
        let rate = schedule.rate(of: match).value
        if rate.isZero { return (.zero, state.quote) }
        if state.isSpot, match.side == .buy, configuration.spotFeeAsset == .received {
            return ((match.quantity.value * rate).rounded(decimals: 8), state.base)
        }
        return (schedule.fee(of: match).value.rounded(decimals: 8), state.quote)
    }

    /// A position was changed by hand.
    func positionChanged(_ account: Account, _ state: MarketState, _ side: PositionSide) {
        endReducing(PositionOwner(account: account.index, market: state.index, side: side))
    }

    /// Reduce-only orders cannot outlive what they reduce.
    private func endReducing(_ owner: PositionOwner) {
        let account = accounts[owner.account]
        let quantity = account.position(owner.market, owner.side).quantity
        for id in account.open.sorted() {
            let order = orders[id - idBase]
            guard order.onlyReduces, order.market == owner.market, order.positionSide == owner.side else { continue }
            let reduces = order.side == .sell ? quantity.isPositive : quantity.isNegative
            if !reduces, markets[order.market].book.resting(id) != nil { end(id, .expired) }
        }
    }

    /// After a replay: expires what cannot rest and has no end, which only a machine that died can leave behind.
    func endUnfinished() {
        for order in orders where order.status.isOpen && !order.canRest { end(order.id, .expired) }
    }

    func announce(_ id: Int, _ execution: Execution, _ trade: TradeRecord? = nil) {
        onExecution?(orders[id - idBase], execution, trade)
    }
}

/// Whose position, for work that follows a batch of fills in a fixed order.
private struct PositionOwner: Hashable, Comparable {
    let account: Int
    let market: Int
    let side: PositionSide

    init(account: Int, market: Int, side: PositionSide) {
        self.account = account
        self.market = market
        self.side = side
    }

    init(_ order: OrderRecord) {
        self.init(account: order.account, market: order.market, side: order.positionSide)
    }

    static func < (left: PositionOwner, right: PositionOwner) -> Bool {
        (left.account, left.market, left.side.rawValue) < (right.account, right.market, right.side.rawValue)
    }
}

extension OrderRecord {
    /// Whether the order may only make a position smaller: by its flag, or as the closing side of a two-sided position.
    var onlyReduces: Bool {
        switch (positionSide, side) {
        case (.long, .sell), (.short, .buy): true
        case (.long, .buy), (.short, .sell), (.both, .buy), (.both, .sell): reduceOnly
        }
    }
}
