module sessile.test/peers

go 1.19
