// How a quantity is shared over take-profit levels (ORDERS.md R1).
//
// Level i gets `left x weight_i / (weights from i on)`, floored to the step, and the last gets the exact rest. A share
// that the venue would not take plans 0 and stays with the levels after it; a last share that is too small goes to the
// nearest level before it that has one. Exact: counts of steps and whole weights, products in 256 bits. Cost O(levels).

/// One level that takes part in a plan.
struct PlanShare {
    /// Percent of the level, > 0.
    let percent: ExactDecimal
    let price: Price
    /// The level keeps this share of its weight: unfilled / planned (R1.5); 1 / 1 for an untouched level.
    var unfilled: Quantity = Quantity(.one)
    var planned: Quantity = Quantity(.one)
}

enum Planner {
    /// Quantities of the shares, in their order, that sum to `quantity` floored to the step (0 in all when it is too
    /// small for any). `merging` false: the shares as they are, whether the venue takes them or not (R12.2).
    static func plan(
        _ quantity: Quantity,
        over shares: [PlanShare],
        of instrument: Instrument,
        merging: Bool = true,
    )
        -> [Quantity]
    {
        plan(
            quantity,
            over: shares,
            step: instrument.stepSize,
            minQuantity: instrument.minQuantity,
            minNotional: instrument.minNotional,
            contractSize: instrument.contractSize,
            merging: merging,
        )
    }

    static func plan(
        _ quantity: Quantity,
        over shares: [PlanShare],
        step: Quantity,
        minQuantity: Quantity,
        minNotional: Money,
        contractSize: ExactDecimal = .one,
        merging: Bool = true,
    ) -> [Quantity] {
        guard !shares.isEmpty else { return [] }
        let steps = max(0, wholeSteps(quantity, step))
        let weights = wholeWeights(shares)
        var left = UInt128(steps)
        var weightLeft = weights.reduce(0, +)
        var planned: [Quantity] = []
        planned.reserveCapacity(shares.count)
        for (index, weight) in weights.enumerated() {
            let share = index == weights.count - 1 ? left : scaled(left, by: weight, over: weightLeft)
            var amount = Quantity(step.value * ExactDecimal(mantissa: Int128(share), scale: 0))
            let isTooSmall =
                amount < minQuantity
                || Money((shares[index].price * amount).value * contractSize) < minNotional
            if merging, isTooSmall { amount = .zero }
            planned.append(amount)
            if !amount.isZero { left -= share }
            weightLeft -= weight
        }
        if merging, left > 0, let last = planned.lastIndex(where: { !$0.isZero }) {
            planned[last] += Quantity(step.value * ExactDecimal(mantissa: Int128(left), scale: 0))
        }
        return planned
    }

    private static func wholeSteps(_ quantity: Quantity, _ step: Quantity) -> Int128 {
        ExactDecimal.quotient(quantity.value, over: step.value, step: .one, .floor).mantissa
    }

    /// floor(amount x weight / total); exact, because the product is taken in 256 bits and the quotient fits.
    private static func scaled(_ amount: UInt128, by weight: UInt128, over total: UInt128) -> UInt128 {
        guard total > 0 else { return 0 }
        let product = amount.multipliedFullWidth(by: weight)
        return total.dividingFullWidth((product.high, product.low)).quotient
    }

    /// The weights `percent x unfilled / planned` on a common whole scale.
    private static func wholeWeights(_ shares: [PlanShare]) -> [UInt128] {
        let percentScale = shares.map { Int($0.percent.scale) }.max() ?? 0
        var weights = shares.map { UInt128($0.percent.mantissa(atScale: percentScale)) }
        let ratios = shares.count { $0.unfilled != $0.planned }
        // With several ratios, long ones are shortened so that products stay in range; the shares differ by far less
        // than a step then.
        let limit = ratios == 0 ? 1 : UInt128(ExactDecimal.powerOfTen(min(12, 30 / ratios)))
        for (index, share) in shares.enumerated() where share.unfilled != share.planned {
            let scale = Int(max(share.unfilled.value.scale, share.planned.value.scale))
            var numerator = UInt128(max(0, share.unfilled.value.mantissa(atScale: scale)))
            var denominator = UInt128(share.planned.value.mantissa(atScale: scale))
            let divisor = greatestCommonDivisor(numerator, denominator)
            numerator /= divisor
            denominator /= divisor
            while denominator > limit {
                numerator /= 10
                denominator /= 10
            }
            for other in weights.indices { weights[other] *= other == index ? numerator : denominator }
            let common = weights.reduce(0, greatestCommonDivisor)
            if common > 1 { for other in weights.indices { weights[other] /= common } }
        }
        return weights
    }

    private static func greatestCommonDivisor(_ a: UInt128, _ b: UInt128) -> UInt128 {
        var (a, b) = (a, b)
        while b != 0 { (a, b) = (b, a % b) }
        return a
    }
}
