package drive

func eui(hex string) string { return "" }

func fallbackID(d Drive) string { return "" }
