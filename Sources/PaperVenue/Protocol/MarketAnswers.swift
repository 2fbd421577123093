// The market catalogue and prices in Binance's words.

internal import JSONText
internal import SmartOrders

extension JSONWriter {
    fileprivate mutating func filter(_ type: String, _ members: (inout JSONWriter) -> Void) {
        beginObject()
        member("filterType", type)
        members(&self)
        endObject()
    }
}

enum TickerKind { case price, day, book, mark }

extension VenueEngine {
    func writeExchangeInfo(_ product: PaperProduct, to writer: inout JSONWriter) {
        writer.beginObject()
        writer.member("timezone", "UTC")
        writer.member("serverTime", now / 1000)
        writer.key("rateLimits")
        writer.beginArray()
        writer.endArray()
        writer.key("exchangeFilters")
        writer.beginArray()
        writer.endArray()
        writer.key("symbols")
        writer.beginArray()
        for state in markets where state.market.product == product { writeSymbol(state, to: &writer) }
        writer.endArray()
        writer.endObject()
    }

    private func writeSymbol(_ state: MarketState, to writer: inout JSONWriter) {
        let market = state.market
        writer.beginObject()
        writer.member("symbol", market.symbol)
        writer.member("status", market.isTrading ? "TRADING" : "HALT")
        writer.member("baseAsset", market.base)
        writer.member("quoteAsset", market.quote)
        writer.member("baseAssetPrecision", 8)
        writer.member("quotePrecision", 8)
        var types = ["LIMIT", "MARKET"]
        if state.isSpot {
            types += ["LIMIT_MAKER", "STOP_LOSS_LIMIT"]
            writer.member("ocoAllowed", true)
            writer.member("quoteAssetPrecision", 8)
            writer.member("isSpotTradingAllowed", true)
            writer.member("isMarginTradingAllowed", false)
            writer.member("quoteOrderQtyMarketAllowed", true)
            writer.member("defaultSelfTradePreventionMode", "NONE")
        } else {
            types += ["STOP", "STOP_MARKET", "TAKE_PROFIT", "TAKE_PROFIT_MARKET", "TRAILING_STOP_MARKET"]
            writer.member("pair", market.symbol)
            writer.member("contractType", "PERPETUAL")
            writer.member("marginAsset", market.quote)
            writer.member("pricePrecision", Int(market.tickSize.value.scale))
            writer.member("quantityPrecision", Int(market.stepSize.value.scale))
            writer.member("underlyingType", "COIN")
            writer.key("timeInForce")
            writer.beginArray()
            for time in ["GTC", "IOC", "FOK", "GTX"] { writer.string(time) }
            writer.endArray()
        }
        writer.key("orderTypes")
        writer.beginArray()
        for type in types { writer.string(type) }
        writer.endArray()
        writer.key("filters")
        writer.beginArray()
        writeFilters(state, to: &writer)
        writer.endArray()
        // Not Binance's: an adapter for the paper venue reads its fees here.
        writer.member("makerCommission", market.makerFee.value)
        writer.member("takerCommission", market.takerFee.value)
        writer.endObject()
    }

    private func writeFilters(_ state: MarketState, to writer: inout JSONWriter) {
        let market = state.market
        writer.filter("PRICE_FILTER") { writer in
            writer.member("minPrice", market.tickSize)
            writer.member("maxPrice", "100000000")
            writer.member("tickSize", market.tickSize)
        }
        for name in ["LOT_SIZE", "MARKET_LOT_SIZE"] {
            writer.filter(name) { writer in
                writer.member("minQty", market.minQuantity)
                writer.member("maxQty", market.maxQuantity)
                writer.member("stepSize", market.stepSize)
            }
        }
        writer.filter(state.isSpot ? "NOTIONAL" : "MIN_NOTIONAL") { writer in
            if state.isSpot {
                writer.member("minNotional", market.minNotional)
                writer.member("applyMinToMarket", true)
                writer.member("maxNotional", "1000000000")
                writer.member("applyMaxToMarket", false)
                writer.member("avgPriceMins", 0)
            } else {
                writer.member("notional", market.minNotional)
            }
        }
        writer.filter("MAX_NUM_ORDERS") { writer in
            if state.isSpot {
                writer.member("maxNumOrders", market.maxOpenOrders)
            } else {
                writer.member("limit", market.maxOpenOrders)
            }
        }
        guard market.bandUp != nil || market.bandDown != nil else { return }
        let up = market.bandUp?.value ?? ExactDecimal(1000)
        let down = market.bandDown?.value ?? .zero
        writer.filter(state.isSpot ? "PERCENT_PRICE_BY_SIDE" : "PERCENT_PRICE") { writer in
            if state.isSpot {
                writer.member("bidMultiplierUp", up)
                writer.member("bidMultiplierDown", down)
                writer.member("askMultiplierUp", up)
                writer.member("askMultiplierDown", down)
                writer.member("avgPriceMins", 0)
            } else {
                writer.member("multiplierUp", up)
                writer.member("multiplierDown", down)
                writer.member("multiplierDecimal", "4")
            }
        }
    }

    func writeTicker(_ kind: TickerKind, _ state: MarketState, to writer: inout JSONWriter) {
        let last = state.last ?? state.mark ?? .zero
        writer.beginObject()
        writer.member("symbol", state.market.symbol)
        switch kind {
        case .book:
            writer.member("bidPrice", state.bid?.price ?? last)
            writer.member("bidQty", state.bid?.quantity ?? .zero)
            writer.member("askPrice", state.ask?.price ?? last)
            writer.member("askQty", state.ask?.quantity ?? .zero)
            writer.member("time", now / 1000)
        case .mark:
            writer.member("markPrice", state.mark ?? last)
            writer.member("indexPrice", state.indexPrice ?? state.mark ?? last)
            writer.member("lastFundingRate", "0")
            writer.member("nextFundingTime", 0)
            writer.member("time", now / 1000)
        case .day:
            writer.member("lastPrice", last)
            writer.member("bidPrice", state.bid?.price ?? last)
            writer.member("askPrice", state.ask?.price ?? last)
            writer.member("volume", state.volume)
            writer.member("closeTime", now / 1000)
        case .price:
            writer.member("price", last)
            writer.member("time", now / 1000)
        }
        writer.endObject()
    }
}
