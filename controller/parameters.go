package controller

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/lvme/lvme/driver"
	"github.com/lvme/lvme/volume"
)

// parameters are the parameters of a StorageClass.
type parameters struct {
	class string
	// kind is empty for the profile's type.
	kind        volume.Type
	profileName string
	profile     volume.Profile
	fsType      string
	mkfsText    string
	// allowModeChange lets a copy be raw block where its source is a
	// filesystem, or the other way round.
	allowModeChange bool
}

var knownParameters = []string{
	driver.ParamAllowModeChange, driver.ParamDriveClass, driver.ParamMkfsOptions, driver.ParamProfile, driver.ParamType,
}

func parseParameters(params map[string]string) (parameters, error) {
	var p parameters
	if err := driver.CheckMap("parameters", params); err != nil {
		return p, err
	}
	for _, name := range slices.Sorted(maps.Keys(params)) {
		if err := p.set(name, params[name]); err != nil {
			return parameters{}, err
		}
	}
	var err error
	p.profile, err = volume.LookupProfile(p.profileName)
	return p, err
}

func (p *parameters) set(name, value string) (err error) {
	field := "parameters." + name
	switch name {
	case driver.ParamDriveClass:
		p.class = value
	case driver.ParamProfile:
		p.profileName = value
	case driver.ParamMkfsOptions:
		p.mkfsText = value
	case driver.ParamType:
		p.kind, err = parseType(field, value)
	case driver.ParamAllowModeChange:
		p.allowModeChange, err = parseBool(field, value)
	case driver.ParamFSType:
		p.fsType, err = value, driver.CheckFSType(field, value)
	default:
		if !driver.IsSidecarParameter(name) {
			err = volume.Invalid("parameters", name, "one of "+strings.Join(knownParameters, ", "))
		}
	}
	return err
}

func parseType(field, value string) (volume.Type, error) {
	switch t := volume.Type(value); t {
	case "", volume.Thin, volume.Thick:
		return t, nil
	}
	return "", volume.Invalid(field, value, fmt.Sprintf("%s or %s, or empty for the profile's", volume.Thin, volume.Thick))
}

func parseBool(field, value string) (bool, error) {
	b, err := strconv.ParseBool(value)
	if err != nil || strconv.FormatBool(b) != value {
		return false, volume.Invalid(field, value, "true or false")
	}
	return b, nil
}

// typeOf is the type that a volume of these parameters gets.
func (p parameters) typeOf() volume.Type { return cmp.Or(p.kind, p.profile.Type) }

// filesystem is the one asked for, by the capability or by the parameter that
// csi-provisioner moves there; empty when both leave it open.
func (p parameters) filesystem(c driver.Capability) (string, error) {
	if c.FSType != "" && p.fsType != "" && c.FSType != p.fsType {
		return "", volume.Invalid("parameters."+driver.ParamFSType, p.fsType, "the capability's fs_type, "+c.FSType)
	}
	return cmp.Or(c.FSType, p.fsType), nil
}

// mkfs reads the mkfs options for that filesystem, empty for the profile's. A
// copy with no filesystem named gets its source's, for which nobody can say
// here whether the options fit: it gets none.
func (p parameters) mkfs(fsType string, isCopy bool) ([]string, error) {
	if isCopy && fsType == "" {
		return nil, nil
	}
	return driver.ParseMkfsOptions("parameters."+driver.ParamMkfsOptions, cmp.Or(fsType, p.profile.FSType), p.mkfsText)
}

// noMutable refuses mutable parameters: without MODIFY_VOLUME there are none.
func noMutable(params map[string]string) error {
	for _, name := range slices.Sorted(maps.Keys(params)) {
		return volume.Invalid("mutable_parameters", name, "none: volumes have no mutable parameters")
	}
	return nil
}
