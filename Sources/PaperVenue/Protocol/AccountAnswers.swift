// Balances and positions in Binance's words.

internal import JSONText
internal import SmartOrders

extension VenueEngine {
    func writeSpotAccount(_ account: Account, to writer: inout JSONWriter) {
        writer.beginObject()
        writer.member("makerCommission", 10)
        writer.member("takerCommission", 10)
        writer.member("buyerCommission", 0)
        writer.member("sellerCommission", 0)
        writer.member("canTrade", true)
        writer.member("canWithdraw", false)
        writer.member("canDeposit", false)
        writer.member("brokered", false)
        writer.member("requireSelfTradePrevention", false)
        writer.member("preventSor", false)
        writer.member("updateTime", now / 1000)
        writer.member("accountType", "SPOT")
        writer.key("balances")
        writer.beginArray()
        for asset in account.spot.keys.sorted() {
            let balance = account.spot[asset, default: Balance()]
            writer.beginObject()
            writer.member("asset", assets[asset])
            writer.member("free", balance.free)
            writer.member("locked", balance.locked)
            writer.endObject()
        }
        writer.endArray()
        writer.key("permissions")
        writer.beginArray()
        writer.string("SPOT")
        writer.endArray()
        writer.member("uid", account.index + 1)
        writer.endObject()
    }

    /// Sum over the account's positions that are margined in `asset`.
    private func unrealized(_ account: Account, _ asset: Int) -> (profit: ExactDecimal, margin: ExactDecimal) {
        var profit = ExactDecimal.zero
        var margin = ExactDecimal.zero
        for (key, position) in account.positions where !position.quantity.isZero {
            let state = markets[key.market]
            guard state.quote == asset, let price = state.referencePrice?.value else { continue }
            profit += position.quantity * price - position.cost
            margin += initialMargin(position.quantity * price, state, account)
        }
        return (profit, margin)
    }

    func writeLinearAccount(_ account: Account, to writer: inout JSONWriter) {
        let assetsHeld = account.wallet.keys.sorted()
        writer.beginObject()
        writer.member("totalWalletBalance", assetsHeld.reduce(.zero) { $0 + (account.wallet[$1] ?? .zero) })
        writer.member("totalUnrealizedProfit", assetsHeld.reduce(.zero) { $0 + unrealized(account, $1).profit })
        writer.member("availableBalance", assetsHeld.reduce(.zero) { $0 + availableMargin(account, asset: $1) })
        writer.key("assets")
        writer.beginArray()
        for asset in assetsHeld {
            let wallet = account.wallet[asset] ?? .zero
            let held = unrealized(account, asset)
            let orderMargin = account.orderMargin[asset] ?? .zero
            let available = availableMargin(account, asset: asset)
            writer.beginObject()
            writer.member("asset", assets[asset])
            writer.member("walletBalance", wallet)
            writer.member("unrealizedProfit", held.profit)
            writer.member("marginBalance", wallet + held.profit)
            writer.member("maintMargin", "0")
            writer.member("initialMargin", held.margin + orderMargin)
            writer.member("positionInitialMargin", held.margin)
            writer.member("openOrderInitialMargin", orderMargin)
            writer.member("crossWalletBalance", wallet)
            writer.member("crossUnPnl", held.profit)
            writer.member("availableBalance", available)
            writer.member("maxWithdrawAmount", available)
            writer.member("updateTime", now / 1000)
            writer.endObject()
        }
        writer.endArray()
        writer.key("positions")
        writePositions(account, symbol: nil, listsFlat: false, to: &writer)
        writer.endObject()
    }

    func writeLinearBalances(_ account: Account, to writer: inout JSONWriter) {
        writer.beginArray()
        for asset in account.wallet.keys.sorted() {
            let wallet = account.wallet[asset] ?? .zero
            writer.beginObject()
            writer.member("accountAlias", "paper")
            writer.member("asset", assets[asset])
            writer.member("balance", wallet)
            writer.member("crossWalletBalance", wallet)
            writer.member("crossUnPnl", unrealized(account, asset).profit)
            writer.member("availableBalance", availableMargin(account, asset: asset))
            writer.member("maxWithdrawAmount", availableMargin(account, asset: asset))
            writer.member("marginAvailable", true)
            writer.member("updateTime", now / 1000)
            writer.endObject()
        }
        writer.endArray()
    }

    /// - Parameter listsFlat: also markets without a position (version 2 of the endpoint).
    func writePositions(_ account: Account, symbol: String?, listsFlat: Bool, to writer: inout JSONWriter) {
        writer.beginArray()
        for state in markets where !state.isSpot && (symbol == nil || symbol == state.market.symbol) {
            let sides: [PositionSide] = account.hasTwoSides ? [.long, .short] : [.both]
            for side in sides {
                let key = PositionKey(market: state.index, side: side)
                guard listsFlat || account.positions[key].map({ !$0.quantity.isZero }) == true else { continue }
                write(account.positions[key] ?? Position(), side, state, account, to: &writer)
            }
        }
        writer.endArray()
    }

    private func write(
        _ position: Position,
        _ side: PositionSide,
        _ state: MarketState,
        _ account: Account,
        to writer: inout JSONWriter,
    ) {
        let mark = state.referencePrice?.value ?? .zero
        let value = position.quantity * mark
        let margin = initialMargin(value, state, account)
        writer.beginObject()
        writer.member("symbol", state.market.symbol)
        writer.member("positionSide", side.rawValue)
        writer.member("positionAmt", position.quantity)
        writer.member("entryPrice", position.entryPrice)
        writer.member("breakEvenPrice", position.entryPrice)
        writer.member("markPrice", mark)
        writer.member("unRealizedProfit", value - position.cost)
        writer.member("liquidationPrice", "0")
        writer.member("leverage", String(account.leverage[state.index] ?? configuration.leverage))
        writer.member("marginType", "cross")
        writer.member("isolatedMargin", "0")
        writer.member("isolatedWallet", "0")
        writer.member("notional", value)
        writer.member("marginAsset", assets[state.quote])
        writer.member("initialMargin", margin)
        writer.member("maintMargin", "0")
        writer.member("positionInitialMargin", margin)
        writer.member("openOrderInitialMargin", "0")
        writer.member("adl", 0)
        writer.member("bidNotional", "0")
        writer.member("askNotional", "0")
        writer.member("updateTime", position.updatedAt / 1000)
        writer.endObject()
    }
}
