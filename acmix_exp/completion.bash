# Completion of acmix-exp in bash. The words are in the script, so that Tab starts no program.
_acmix_exp_keys='{keys}'
_acmix_exp_values='{values}'

_acmix_exp_runs() { # paths of runs, arms and folders that begin with $1
    local path="${1:-runs/}" each arm
    for each in "$path"*; do
        [[ -d $each ]] || continue
        if [[ ${each##*/} =~ ^(.+)-s[0-9]+-[0-9a-f]{8}$ ]]; then
            arm="${each%/*}/${BASH_REMATCH[1]}"
            [[ -f $each/status.json ]] && printf '%s\n' "$arm" "$each"
        elif [[ $each != */.* ]]; then
            printf '%s/\n' "$each"
        fi
    done | sort -u
}

_acmix_exp() {
    local line="${COMP_LINE:0:COMP_POINT}" word plus="" key before="" value each IFS=$'\n'
    local -a found=()
    word="${line##*[[:space:]]}"
    while [[ $word == +* ]]; do plus+=+ word="${word#+}"; done
    if [[ $word == *=* ]]; then
        key="${word%%=*}" value="${word#*=}"
        [[ $value == \[* ]] && before="[" value="${value#[}"
        [[ $value == *,* ]] && before+="${value%,*}," value="${value##*,}"
        case "$key" in
            run | a | b) mapfile -t found < <(_acmix_exp_runs "$value") ;;
            name) for each in runs/"$value"*/; do [[ -d $each ]] && each="${each%/}" && found+=("${each#runs/}"); done ;;
            *.path | *.root | *.pretrained | *.yaml | runs_dir) mapfile -t found < <(compgen -f -- "$value") ;;
            *) for each in $_acmix_exp_values; do
                   [[ $each == "$key=$value"* ]] && found+=("${each#*=}")
               done ;;
        esac
        found=("${found[@]/#/$plus$key=$before}")
        [[ $COMP_WORDBREAKS == *=* ]] && found=("${found[@]#*=}")
    else
        for each in $_acmix_exp_keys; do
            [[ $each == "$word"* ]] || continue
            each="${each#"$word"}" # up to the next dot
            [[ $each == *.* ]] && each="${each%%.*}."
            found+=("$plus$word$each")
        done
        ((${#found[@]})) && mapfile -t found < <(printf '%s\n' "${found[@]}" | sort -u)
    fi
    COMPREPLY=("${found[@]}")
    [[ ${#found[@]} == 1 && ${found[0]} == *[=./] ]] && compopt -o nospace 2> /dev/null
    return 0
}

complete -F _acmix_exp acmix-exp
